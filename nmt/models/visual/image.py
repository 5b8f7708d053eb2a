"""Image encoders: from strips of pixels to one vector per slice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, assert_never

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.config.model import VisualConfig
from nmt.corpus.rendering import Strips, slice_numbers
from nmt.models.visual.gates import CbamPlaces, channel_gate, convolved, place_gate

VISREP_CHANNELS = 4
CNN_CHANNELS = (16, 32, 64)
_SHRUNK = 4  # by how much the convolutions of the `cnn` shrink a picture

# S slices of all lines together, B lines, C channels, H height, W width of a line or slice in pixels, D width of the model


class ImageEncoder(nn.Module, ABC):
    """Maps pictures of lines to vectors, one for each slice of a line."""

    def __init__(self, config: VisualConfig) -> None:
        super().__init__()
        self.window, self.stride, self.height = config.window, config.stride, config.height

    @abstractmethod
    def forward(self, strips: Strips, like: Tensor) -> Tensor:
        """Returns vectors (S, D) on the device and in the precision of the tensor `like`."""

    if TYPE_CHECKING:
        __call__ = forward

    def slices(self, strips: Strips, like: Tensor) -> Tensor:
        """Returns the slices of all lines as pictures (S, H, W), ink 1 and paper 0."""
        cut = torch.from_numpy(strips.cut(self.window, self.stride))  # (S, W, H)
        return inked(cut, like).transpose(1, 2)

    def place_weights(self, strips: Strips, like: Tensor) -> Tensor | None:  # noqa: ARG002  # of encoders that weigh places
        """Returns the weight of each pixel of lines (B, H, W) by spatial attention, from 0 to 1; None: there is none."""
        return None


class SliceVector(nn.Module):
    """LN(W LN(x) + b): a linear map of what a slice holds, between two norms (Kumar et al. 2023, section 3, dual PatchNorm).

    What a picture holds is never negative. Without the first norm, slices would differ little beside what they share.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.features = features
        self.linear, self.norm = nn.Linear(features, width), nn.LayerNorm(width)

    def forward(self, seen: Tensor) -> Tensor:
        """Maps what slices hold (S, F) to vectors (S, D)."""
        return self.norm(self.linear(F.layer_norm(seen, (self.features,))))

    if TYPE_CHECKING:
        __call__ = forward


class Slices(ImageEncoder):
    """x_i = E p_i: a linear map of the pixels of a slice (Dosovitskiy et al. 2021, equation 1)."""

    def __init__(self, config: VisualConfig, width: int) -> None:
        super().__init__(config)
        self.vector = SliceVector(config.height * config.window, width)

    def forward(self, strips: Strips, like: Tensor) -> Tensor:
        """See `ImageEncoder.forward`."""
        return self.vector(self.slices(strips, like).flatten(1))

    if TYPE_CHECKING:
        __call__ = forward


class Visrep(ImageEncoder):
    """A 3x3 convolution, batch norm, ReLU and a linear map of each slice: Salesky et al. 2021, section 3.2."""

    def __init__(self, config: VisualConfig, width: int) -> None:
        super().__init__(config)
        self.convolution = nn.Conv2d(1, VISREP_CHANNELS, 3, padding=1)
        self.norm = BatchNorm(VISREP_CHANNELS)
        self.channels, self.places = (
            channel_gate(config.channel_attention, VISREP_CHANNELS),
            place_gate(config.spatial_attention),
        )
        self.vector = SliceVector(VISREP_CHANNELS * config.height * config.window, width)

    def forward(self, strips: Strips, like: Tensor) -> Tensor:
        """See `ImageEncoder.forward`."""
        features = torch.relu(self.norm(convolved_pixels(self.convolution, self.slices(strips, like))))  # (C, S, H, W)
        features, real = features.transpose(0, 1), features.new_ones((1, 1, 1, self.window))
        return self.vector(self.places(self.channels(features, real), real).flatten(1))

    if TYPE_CHECKING:
        __call__ = forward


class Block(nn.Module):
    """A 3x3 convolution and ReLU, then attention over channels and over places (Woo et al. 2018, figure 1).

    A stride pools, as in Springenberg et al. 2015.
    """

    def __init__(self, config: VisualConfig, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, stride, padding=1)
        self.channels, self.places = channel_gate(config.channel_attention, after), place_gate(config.spatial_attention)

    def forward(self, states: Tensor, ends: Tensor) -> Tensor:
        """Maps pixels (B, H, W) or features (B, C, H, W) to smaller pictures, zero from their columns `ends` (B,) on."""
        features, real = self.before_places(states, ends)
        return self.places(features, real)

    def before_places(self, states: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the features that attention over places weighs, and their real columns (B, 1, 1, W)."""
        if states.dim() == 3:
            features = convolved_pixels(self.convolution, states).transpose(0, 1).contiguous()
        else:
            features = convolved(self.convolution, states)
        features = torch.relu(features)
        columns = torch.arange(features.shape[3], device=features.device)
        real = (columns < ends[:, None]).to(features.dtype)[:, None, None]
        return self.channels(features * real, real), real

    if TYPE_CHECKING:
        __call__ = forward


class Cnn(ImageEncoder):
    """Three convolutions over the whole line, which leave a quarter of its height and width; a linear map of each slice."""

    def __init__(self, config: VisualConfig, width: int) -> None:
        super().__init__(config)
        first, second, third = CNN_CHANNELS
        self.first, self.second = Block(config, 1, first, stride=2), Block(config, first, second, stride=2)
        self.third = Block(config, second, third)
        self.vector = SliceVector(third * (config.height // _SHRUNK) * (config.window // _SHRUNK), width)

    def forward(self, strips: Strips, like: Tensor) -> Tensor:
        """See `ImageEncoder.forward`."""
        features = self.third(*self.before_last(strips, like))  # (B, C, H / 4, W / 4)
        columns = features.permute(0, 3, 1, 2).flatten(2)  # (B, W / 4, features of a column)
        counts = strips.slices(self.window, self.stride)
        line, number = slice_numbers(counts)
        first = line * columns.shape[1] + number * (self.stride // _SHRUNK)  # column of each slice
        chosen = torch.from_numpy(first[:, None] + np.arange(self.window // _SHRUNK)).to(columns.device)
        return self.vector(columns.flatten(0, 1).index_select(0, chosen.flatten()).view(len(first), -1))

    if TYPE_CHECKING:
        __call__ = forward

    def before_last(self, strips: Strips, like: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the input of the last convolution (B, C, H / 4, W / 4), and where its lines end (B,).

        A line ends with its last slice. Features beyond it are zero, so that they do not depend on the batch.
        """
        widths = (strips.slices(self.window, self.stride) - 1) * self.stride + self.window  # (B,), multiples of 4
        pixels = inked(torch.from_numpy(strips.padded(int(widths.max()))), like).transpose(1, 2)  # (B, H, W)
        ends = torch.from_numpy(widths).to(like.device)
        return self.second(self.first(pixels, ends // 2), ends // _SHRUNK), ends // _SHRUNK

    def place_weights(self, strips: Strips, like: Tensor) -> Tensor | None:
        """See `ImageEncoder.place_weights`: those of the last convolution, each for the pixels of its column and row."""
        if not isinstance(self.third.places, CbamPlaces):
            return None
        features, _ = self.third.before_places(*self.before_last(strips, like))
        weights = self.third.places.weights(features)  # (B, 1, H / 4, W / 4)
        return F.interpolate(weights.float(), scale_factor=_SHRUNK, mode="nearest")[:, 0]


def convolved_pixels(convolution: nn.Conv2d, pixels: Tensor) -> Tensor:
    """Applies a 3x3 convolution to pictures of one channel (P, H, W); returns (C, P, H', W').

    One product with the nine neighbours of each pixel does it. torch's convolution takes ten times as long on a CPU, mostly
    for the gradient of so few weights.
    """
    (step, _), (height, width) = convolution.stride, pixels.shape[1:]
    wide = F.pad(pixels, (1, 1, 1, 1))
    taps = [
        wide[:, row : row + height : step, column : column + width : step] for row in range(3) for column in range(3)
    ]
    features = convolution.weight.flatten(1) @ torch.stack(taps).flatten(1)  # (C, P * H' * W')
    return (features + convolution.bias[:, None]).view(-1, *taps[0].shape)  # type: ignore[index]  # it has a bias


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015); its running statistics are parameters, so that checkpoints hold them."""

    momentum, epsilon = 0.1, 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.mean = nn.Parameter(torch.zeros(channels), requires_grad=False)
        self.variance = nn.Parameter(torch.ones(channels), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """Normalises features (C, P, H, W): in training by their own statistics, which move the running ones.

        A norm whose weight is frozen does not learn, so it normalises by the running statistics and leaves them in place.
        """
        statistics, flat = (self.mean, self.variance), features.flatten(1)[None]
        moves = self.training and not self.is_frozen
        normal = F.batch_norm(flat, *statistics, self.weight, self.bias, moves, self.momentum, self.epsilon)
        return normal.view_as(features)

    @property
    def is_frozen(self) -> bool:
        """Whether its weight is not trained."""
        return not self.weight.requires_grad

    if TYPE_CHECKING:
        __call__ = forward


class RunningStatistics:
    """The running statistics of a model's batch norms, which an update moves and may have to move back."""

    def __init__(self, model: nn.Module) -> None:
        norms = [module for module in model.modules() if isinstance(module, BatchNorm) and not module.is_frozen]
        self.moving = [part for norm in norms for part in (norm.mean, norm.variance)]
        self.keep()

    def keep(self) -> None:
        """Remembers them as they are now."""
        self._kept = [part.detach().clone() for part in self.moving]

    @torch.no_grad()
    def put_back(self, unless: Tensor | bool = False) -> None:
        """Makes them what they were at the last `keep`, unless a condition holds, which may be a tensor on the device."""
        for part, kept in zip(self.moving, self._kept, strict=True):
            part.copy_(torch.where(torch.as_tensor(unless, device=part.device), part, kept))

    @torch.no_grad()
    def weigh(self, share: float) -> None:
        """Multiplies them by the share of this process, so that the sum over all processes is their mean."""
        for part in self.moving:
            part.mul_(share)


def inked(pixels: Tensor, like: Tensor) -> Tensor:
    """Converts grey values to ink from 0 to 1, on the device and in the precision of `like`, or of autocast."""
    kind = like.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype
    return pixels.to(like.device).to(dtype) / 255


def make_image_encoder(config: VisualConfig, width: int) -> ImageEncoder:
    """Makes the configured image encoder, for vectors of width `width`."""
    match config.image_encoder:
        case "slices":
            return Slices(config, width)
        case "visrep":
            return Visrep(config, width)
        case "cnn":
            return Cnn(config, width)
        case _:
            assert_never(config.image_encoder)
