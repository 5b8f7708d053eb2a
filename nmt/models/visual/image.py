"""Image encoders: from strips of pixels to one vector per slice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.config.model import VisualConfig
from nmt.corpus.rendering import Strips
from nmt.models.visual.gates import CbamPlaces, channel_gate, place_gate

VISREP_CHANNELS = 4
CNN_CHANNELS = (16, 32, 64)
_POOLED = 4  # pixels of a column of the last features of the `cnn`

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
        """Returns the slices of all lines as pictures (S, 1, H, W), ink 1 and paper 0."""
        cut = torch.from_numpy(strips.cut(self.window, self.stride))  # (S, W, H)
        return inked(cut, like).transpose(1, 2)[:, None]

    def place_weights(self, strips: Strips, like: Tensor) -> Tensor | None:  # noqa: ARG002  # of encoders that weigh places
        """Returns the weight of each pixel of lines (B, H, W) by spatial attention, from 0 to 1; None: there is none."""
        return None


class Slices(ImageEncoder):
    """x_i = E p_i: a linear map of the pixels of a slice (Dosovitskiy et al. 2021, equation 1)."""

    def __init__(self, config: VisualConfig, width: int) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.height * config.window, width)

    def forward(self, strips: Strips, like: Tensor) -> Tensor:
        """See `ImageEncoder.forward`."""
        return self.linear(self.slices(strips, like).flatten(1))

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
        self.linear = nn.Linear(VISREP_CHANNELS * config.height * config.window, width)

    def forward(self, strips: Strips, like: Tensor) -> Tensor:
        """See `ImageEncoder.forward`."""
        features = torch.relu(self.norm(self.convolution(self.slices(strips, like))))  # (S, C, H, W)
        real = features.new_ones((1, 1, 1, self.window))
        return self.linear(self.places(self.channels(features, real), real).flatten(1))

    if TYPE_CHECKING:
        __call__ = forward


class Block(nn.Module):
    """A 3x3 convolution and ReLU, then attention over channels and after it over places (Woo et al. 2018, figure 1)."""

    def __init__(self, config: VisualConfig, before: int, after: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, padding=1)
        self.channels, self.places = channel_gate(config.channel_attention, after), place_gate(config.spatial_attention)

    def forward(self, states: Tensor, real: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C', H, W), zero where `real` (B, 1, 1, W) is zero."""
        return self.places(self.before_places(states, real), real)

    def before_places(self, states: Tensor, real: Tensor) -> Tensor:
        """Returns the features that attention over places weighs."""
        return self.channels(torch.relu(self.convolution(states)) * real, real)

    if TYPE_CHECKING:
        __call__ = forward


class Cnn(ImageEncoder):
    """Three convolutions over the whole line, two of them followed by pooling, then a linear map of each slice."""

    def __init__(self, config: VisualConfig, width: int) -> None:
        super().__init__(config)
        first, second, third = CNN_CHANNELS
        self.first, self.second = Block(config, 1, first), Block(config, first, second)
        self.third = Block(config, second, third)
        self.linear = nn.Linear(third * (config.height // _POOLED) * (config.window // _POOLED), width)

    def forward(self, strips: Strips, like: Tensor) -> Tensor:
        """See `ImageEncoder.forward`."""
        features = self.third(*self.pooled(strips, like))  # (B, C, H / 4, W / 4)
        slices = features.unfold(3, self.window // _POOLED, self.stride // _POOLED)  # (B, C, H / 4, slices, columns)
        slices = slices.permute(0, 3, 1, 2, 4).flatten(2)  # (B, most slices of a line, features of a slice)
        counts = torch.from_numpy(strips.slices(self.window, self.stride))  # (B,)
        real = torch.arange(slices.shape[1]) < counts[:, None]
        return self.linear(slices[real.to(slices.device)])

    if TYPE_CHECKING:
        __call__ = forward

    def pooled(self, strips: Strips, like: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the input of the last convolution (B, C, H / 4, W / 4), and its real columns (B, 1, 1, W / 4).

        A line ends with its last slice; features beyond it are zero, so that they do not depend on the batch.
        """
        widths = (strips.slices(self.window, self.stride) - 1) * self.stride + self.window  # (B,), multiples of 4
        pixels = inked(torch.from_numpy(strips.padded(int(widths.max()))), like)  # (B, W, H)
        states, ends = pixels.transpose(1, 2)[:, None], torch.from_numpy(widths).to(like.device)
        for block in (self.first, self.second):
            states, ends = F.max_pool2d(block(states, _real(states, ends)), 2), ends // 2
        return states, _real(states, ends)

    def place_weights(self, strips: Strips, like: Tensor) -> Tensor | None:
        """See `ImageEncoder.place_weights`: those of the last convolution, each for the pixels that were pooled into it."""
        if not isinstance(self.third.places, CbamPlaces):
            return None
        weights = self.third.places.weights(self.third.before_places(*self.pooled(strips, like)))
        return F.interpolate(weights.float(), scale_factor=_POOLED, mode="nearest")[:, 0]


def _real(states: Tensor, ends: Tensor) -> Tensor:
    """Returns (B, 1, 1, W): 1 at columns of states (B, C, H, W) before the ends (B,), else 0."""
    columns = torch.arange(states.shape[3], device=states.device)
    return (columns < ends[:, None]).to(states.dtype)[:, None, None]


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015); its running statistics are parameters, so that checkpoints hold them."""

    momentum, epsilon = 0.1, 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.mean = nn.Parameter(torch.zeros(channels), requires_grad=False)
        self.variance = nn.Parameter(torch.ones(channels), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """Normalises features (P, C, H, W): in training by their own statistics, which move the running ones."""
        return F.batch_norm(
            features, self.mean, self.variance, self.weight, self.bias, self.training, self.momentum, self.epsilon
        )

    if TYPE_CHECKING:
        __call__ = forward


def inked(pixels: Tensor, like: Tensor) -> Tensor:
    """Converts grey values to ink from 0 to 1, on the device and in the precision of `like`."""
    return pixels.to(like.device).to(like.dtype) / 255


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
