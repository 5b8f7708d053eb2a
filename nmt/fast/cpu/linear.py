"""Linear layers for search on a CPU: weights are laid out once, and products with few rows are fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.fast.kernels import Kernels, kernels_for
from nmt.fast.kernels.layout import Matrix

# N rows, I inputs, O outputs of a linear layer

Activation = Literal["none", "relu"]


def packed(linear: nn.Linear) -> nn.Module:
    """Returns the fastest form of the layer in fp32 or bf16: by the kernels, by oneDNN, or unchanged."""
    fast, works = kernels_for(linear.weight), _works(PackedLinear, linear.weight.dtype)
    if fast is not None and (_tiles(linear, fast) or not works):
        return TiledLinear(linear, fast)
    return PackedLinear(linear) if works else linear


def quantised(linear: nn.Linear, dtype: torch.dtype | None = None) -> nn.Module:
    """Returns the layer in int8; `dtype` is the type of results, by default that of the states."""
    fast = kernels_for(linear.weight)
    if fast is not None and _tiles(linear, fast):
        return TiledInt8Linear(linear, fast, dtype)
    return OneDnnInt8Linear(linear, dtype) if _is_exact(OneDnnInt8Linear) else Int8Linear(linear, dtype)


class TiledLinear(nn.Module):
    """A linear layer by the kernels, in fp32 or bf16. A row's result does not depend on its batch, to the bit.

    The kernels need no set-up, which takes most of oneDNN's time on few rows.
    """

    def __init__(self, linear: nn.Linear, kernels: Kernels) -> None:
        super().__init__()
        self.kernels, self.inputs, self.outputs = kernels, linear.in_features, linear.out_features
        inner = kernels.half_inner if linear.weight.dtype == torch.bfloat16 else 1
        self.weight = _in_tiles(linear.weight, kernels.tile, inner)  # (O / tile, I / inner, tile, inner)
        self.bias = _filled(_bias(linear), kernels.tile)
        self.activation: Activation = "none"

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """Weights and bias, each padded to whole tiles."""
        return self.weight, self.bias

    @property
    def plain(self) -> Tensor:
        """The weight (O, I)."""
        return _out_of_tiles(self.weight, self.outputs, self.inputs)

    def matrix(self, outputs: int | None = None, parts: tuple[Tensor, ...] | None = None) -> Matrix:
        """Describes the layer to the kernels, valid while it lives; optionally with other outputs and their parts."""
        half = self.weight.dtype == torch.bfloat16
        shape = (self.inputs, outputs or self.outputs, int(half), int(self.activation == "relu"), 0)
        return Matrix(*shape, *[part.data_ptr() for part in parts or self.parts])

    def forward(self, states: Tensor) -> Tensor:
        """Maps (..., I) to (..., O)."""
        rows = states.flatten(0, -2).contiguous()
        return self.kernels.multiply(self.matrix(), rows, states.dtype).view(*states.shape[:-1], self.outputs)

    if TYPE_CHECKING:
        __call__ = forward


class PackedLinear(nn.Module):
    """A linear layer whose weight stays in oneDNN's blocked layout, so that no product reorders it."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias, self.dtype = _pack(linear.weight), linear.bias, linear.weight.dtype
        self.activation = "none"

    def forward(self, states: Tensor) -> Tensor:
        """Maps (..., I) to (..., O)."""
        rows = states.to(self.dtype)  # oneDNN multiplies only equal types
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, self.activation, [], "")
        return product.to(states.dtype)

    if TYPE_CHECKING:
        __call__ = forward


class Int8Linear(nn.Module):
    """y = s_x s_w (x_int W_int) + b: weights are scaled per output channel once, activations per row at each call.

    Products and sums are exact, and each row has its own scale, so that its result does not depend on its batch. This class
    uses only torch's operations, on any machine; its subclasses compute the same faster.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype | None = None) -> None:
        """Quantises a layer; see `quantised`."""
        super().__init__()
        self.dtype, self.outputs = dtype, linear.out_features
        weight = linear.weight.float()
        self.scale = weight.abs().amax(1).clamp_(min=1e-12).div_(127)  # (O,)
        self.bias = _bias(linear)
        self.activation: Activation = "none"
        self.middle = 128
        """The byte that stands for 0: 128, or 0 where no state is negative, which halves the step size."""
        self.lay_out((weight / self.scale[:, None]).round_())

    def lay_out(self, weight: Tensor) -> None:
        """Stores the integers (O, I) of the weights."""
        self.weight = weight.double()

    def forward(self, states: Tensor) -> Tensor:
        """Maps (..., I) to (..., O)."""
        rows, dtype = states.flatten(0, -2).contiguous(), self.dtype or states.dtype  # (N, I)
        return self.multiplied(rows, dtype).view(*states.shape[:-1], self.outputs)

    if TYPE_CHECKING:
        __call__ = forward

    def multiplied(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """Maps (N, I) to (N, O)."""
        if (fast := kernels_for(rows)) is not None:
            integers, scales = fast.quantise(rows, self.middle)
            return fast.rescale(self.product(integers), scales, self.bias, self.activation == "relu", dtype)
        rows = rows.float()
        scale = rows.abs().amax(1, keepdim=True).clamp_(min=1e-12).div_(255 - self.middle)  # (N, 1)
        product = self.product(rows.div(scale).round_().add_(self.middle).to(torch.uint8))
        result = torch.addcmul(self.bias, product, scale, out=product).to(dtype)
        return result.relu_() if self.activation == "relu" else result

    def product(self, integers: Tensor) -> Tensor:
        """Returns the sums (N, O) of bytes (N, I), less the middle, times weights, scaled per output."""
        exact = F.linear(integers.double() - self.middle, self.weight)  # double precision holds integers of 53 bits
        return exact.float() * self.scale


class OneDnnInt8Linear(Int8Linear):
    """Equals `Int8Linear` to the bit, by oneDNN; only on CPUs whose instructions do not saturate, see `_is_exact`."""

    def lay_out(self, weight: Tensor) -> None:
        """See `Int8Linear.lay_out`."""
        self.weight = torch.ops.onednn.qlinear_prepack(weight.to(torch.int8), None)
        self.zero = torch.zeros(len(weight), dtype=torch.long)

    def product(self, integers: Tensor) -> Tensor:
        """See `Int8Linear.product`."""
        scales = (1.0, self.middle, self.weight, self.scale, self.zero)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            integers, *scales, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return product


class TiledInt8Linear(Int8Linear):
    """Equals `Int8Linear` to the bit, by the kernels: rounding, product and scaling in one pass."""

    def __init__(self, linear: nn.Linear, kernels: Kernels, dtype: torch.dtype | None = None) -> None:
        self.kernels, self.inputs = kernels, linear.in_features
        super().__init__(linear, dtype)

    def lay_out(self, weight: Tensor) -> None:
        """See `Int8Linear.lay_out`."""
        tile = self.kernels.tile
        tiles, sums = _in_tiles(weight, tile, self.kernels.inner).to(torch.int8), weight.sum(1).to(torch.int32)
        self.parts = (tiles, *(_filled(part, tile) for part in (self.bias, self.scale, sums)))
        """Weights, bias, scales and sums of the weights, each padded to whole tiles."""

    @property
    def plain(self) -> Tensor:
        """The weight (O, I) that the integers represent."""
        return _out_of_tiles(self.parts[0], self.outputs, self.inputs) * self.scale[:, None]

    def matrix(self, outputs: int | None = None, parts: tuple[Tensor, ...] | None = None) -> Matrix:
        """See `TiledLinear.matrix`."""
        shape = (self.inputs, outputs or self.outputs, 2, int(self.activation == "relu"), self.middle)
        return Matrix(*shape, *[part.data_ptr() for part in parts or self.parts])

    def multiplied(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """See `Int8Linear.multiplied`."""
        return self.kernels.multiply(self.matrix(), rows, dtype)


Tiled = TiledLinear | TiledInt8Linear
"""A layer in the layout of the kernels."""


def like(layer: Tiled, weight: Tensor, bias: Tensor | None = None, exact: bool = False) -> Tiled:
    """Makes a layer of weight (O, I) and bias (O,) or longer, in the precision of another, or not in integers if `exact`."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, "meta")
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach()[: len(weight)], requires_grad=False)
    integers = isinstance(layer, TiledInt8Linear) and not exact
    return TiledInt8Linear(linear, layer.kernels) if integers else TiledLinear(linear, layer.kernels)


def tiled(layer: nn.Module) -> Tiled:
    """Checks that a layer is in tiles and returns it typed so."""
    if not isinstance(layer, TiledLinear | TiledInt8Linear):
        raise TypeError(f"{type(layer).__name__} has no tiles")
    return layer


class Joined:
    """Layers with the same inputs as one; the outputs of each start at a tile and are padded to whole tiles."""

    def __init__(self, layers: Sequence[Tiled]) -> None:
        self.layers = layers
        self._parts = tuple(torch.cat(parts) for parts in zip(*(layer.parts for layer in layers), strict=True))
        self.widths = [len(layer.parts[1]) for layer in layers]
        """Number of outputs of each layer, padded."""

    def matrix(self) -> Matrix:
        """Describes the layers to the kernels, valid while this object lives."""
        return self.layers[0].matrix(sum(self.widths), self._parts)


def _tiles(linear: nn.Linear, kernels: Kernels) -> bool:
    """Whether the kernels pay for the layer: one output costs them as much as a whole tile."""
    return linear.out_features >= kernels.tile // 2


def _in_tiles(weight: Tensor, tile: int, inner: int) -> Tensor:
    """Lays weights (O, I) out as (O / tile, I / inner, tile, inner), padded with zeros."""
    outputs, inputs = weight.shape
    whole = F.pad(weight.detach(), (0, -inputs % inner, 0, -outputs % tile))
    return whole.unflatten(0, (-1, tile)).unflatten(2, (-1, inner)).transpose(1, 2).contiguous()


def _out_of_tiles(tiles: Tensor, outputs: int, inputs: int) -> Tensor:
    return tiles.transpose(1, 2).flatten(2).flatten(0, 1)[:outputs, :inputs]


def _filled(values: Tensor, tile: int) -> Tensor:
    """Pads one value per output (O,) with zeros to whole tiles."""
    return F.pad(values.detach(), (0, -len(values) % tile))


def _bias(linear: nn.Linear) -> Tensor:
    bias = dict(linear.named_parameters()).get("bias")
    return torch.zeros(linear.out_features) if bias is None else bias.detach().float()


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
    return packed


@cache
def _works(kind: Callable[[nn.Linear], nn.Module], dtype: torch.dtype) -> bool:
    """Whether a product outside torch's public interface exists for this type and is right."""
    linear = nn.Linear(16, 24, dtype=dtype).requires_grad_(False)
    states = torch.linspace(-1, 1, 48, dtype=dtype).view(3, 16)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    try:
        return torch.allclose(kind(linear)(states), F.linear(states, linear.weight, linear.bias), atol=tolerance)
    except (AttributeError, RuntimeError):
        return False


@cache
def _is_exact(kind: Callable[[nn.Linear], Int8Linear]) -> bool:
    """Whether products of the largest integers are exact: without VNNI oneDNN adds them in 16 bits, which saturate."""
    linear = nn.Linear(16, 24, bias=False).requires_grad_(False)
    linear.weight.copy_(torch.linspace(-1, 1, 24)[:, None].expand(24, 16))
    states = torch.full((3, 16), 255, dtype=torch.uint8)
    try:
        return torch.equal(kind(linear).product(states), Int8Linear(linear).product(states))
    except (AttributeError, RuntimeError):
        return False
