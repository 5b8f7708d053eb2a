"""Attention on pictures: weights for channels (Hu et al. 2018) and for places (Woo et al. 2018).

Both are gates: the weights lie between 0 and 1 and do not sum to 1, unlike those of attention over words. Features are those
after a ReLU, never negative, and zero in columns of padding, which never count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.config.model import ChannelAttentionName, SpatialAttentionName

REDUCTION = 4  # r of both papers, which have 16 for hundreds of channels

# P pictures, C channels, H height, W width; `real` (P, 1, 1, W) is 1 at real columns and 0 at padding


class SqueezeExcitation(nn.Module):
    """s = sigmoid(W_2 relu(W_1 z)), where z_c is the mean of channel c: Hu et al. 2018, equations 2 and 3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, max(1, channels // REDUCTION))
        self.excite = nn.Linear(max(1, channels // REDUCTION), channels)

    def forward(self, features: Tensor, real: Tensor) -> Tensor:
        """Weighs the channels of features (P, C, H, W): equation 4."""
        weights = torch.sigmoid(self.perceptron(mean_of(features, real)))  # (P, C)
        return features * weights[:, :, None, None]

    def perceptron(self, summary: Tensor) -> Tensor:
        """Returns W_2 relu(W_1 z) of summaries (P, C)."""
        return self.excite(torch.relu(self.squeeze(summary)))

    if TYPE_CHECKING:
        __call__ = forward


class CbamChannels(SqueezeExcitation):
    """M_c = sigmoid(MLP(mean) + MLP(maximum)): Woo et al. 2018, equation 2."""

    def forward(self, features: Tensor, real: Tensor) -> Tensor:
        """Weighs the channels of features (P, C, H, W)."""
        summaries = self.perceptron(mean_of(features, real)) + self.perceptron(features.flatten(2).max(2).values)
        return features * torch.sigmoid(summaries)[:, :, None, None]

    if TYPE_CHECKING:
        __call__ = forward


class CbamPlaces(nn.Module):
    """M_s = sigmoid(f([mean; maximum] over the channels)), f a 7x7 convolution: Woo et al. 2018, equation 3."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, features: Tensor, _real: Tensor) -> Tensor:
        """Weighs the places of features (P, C, H, W), which are zero at padding."""
        return features * self.weights(features)

    def weights(self, features: Tensor) -> Tensor:
        """Returns the weight of each place (P, 1, H, W)."""
        summary = torch.stack([features.mean(1), features.max(1).values], 1)
        return torch.sigmoid(self.convolution(summary.contiguous(memory_format=torch.channels_last)))  # which is faster

    if TYPE_CHECKING:
        __call__ = forward


class Ungated(nn.Module):
    """Leaves features as they are."""

    def forward(self, features: Tensor, _real: Tensor) -> Tensor:
        """Returns the features."""
        return features

    if TYPE_CHECKING:
        __call__ = forward


def convolved(convolution: nn.Conv2d, pictures: Tensor) -> Tensor:
    """Applies a convolution that keeps the size, or divides it by its stride, to pictures (P, C, H, W).

    On a CPU the pictures stand side by side as one, with paper between them. For each new shape oneDNN makes code and keeps it.
    There are few shapes so, where every batch has another one: 600 updates took 4 GB.
    """
    if pictures.device.type != "cpu":
        return convolution(pictures)
    (count, *_, width), step, gap = pictures.shape, convolution.stride[1], convolution.kernel_size[1] // 2
    apart = width + -(-gap // step) * step  # from the beginning of a picture to that of the next
    grain = 1 << max(0, (count * apart).bit_length() - 4)  # an eighth at most is added
    total = -(-count * apart // (grain * step)) * grain * step
    strip = F.pad(pictures, (0, apart - width)).permute(1, 2, 0, 3).flatten(2)  # (C, H, P * apart)
    found = convolution(F.pad(strip, (0, total - strip.shape[2]))[None])[0]  # (C', H', total / step)
    apart //= step
    parts = found[:, :, : count * apart].unflatten(2, (count, apart))[..., : width // step]
    return parts.permute(2, 0, 1, 3)


def mean_of(features: Tensor, real: Tensor) -> Tensor:
    """Returns the mean (P, C) of features (P, C, H, W) over real places; at padding they are zero."""
    places = real.float().sum((1, 2, 3)) * features.shape[2]  # (P,)
    return features.sum((2, 3)) / places[:, None].to(features.dtype)


def channel_gate(name: ChannelAttentionName, channels: int) -> SqueezeExcitation | CbamChannels | Ungated:
    """Makes the channel attention of that name."""
    match name:
        case "none":
            return Ungated()
        case "se":
            return SqueezeExcitation(channels)
        case "cbam":
            return CbamChannels(channels)
        case _:
            assert_never(name)


def place_gate(name: SpatialAttentionName) -> CbamPlaces | Ungated:
    """Makes the spatial attention of that name."""
    match name:
        case "none":
            return Ungated()
        case "cbam":
            return CbamPlaces()
        case _:
            assert_never(name)
