"""Linear layers as search on a CPU has them: weights laid out once, for products of rows as few as they may be."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.kernels import TILE, Kernels, kernels_for

# N rows, I inputs, O outputs of a linear layer

Activation = Literal["none", "relu"]


def packed(linear: nn.Linear) -> nn.Module:
    """The layer as it multiplies fastest here, in fp32 or bf16: by kernels, by oneDNN, or as it is."""
    fast = kernels_for(linear.weight)
    if fast is not None and fast.multiplies and linear.weight.dtype == torch.float32 and _tiles(linear):
        return TiledLinear(linear, fast)
    return PackedLinear(linear) if _works(PackedLinear, tolerance=1e-5) else linear


def quantised(linear: nn.Linear, dtype: torch.dtype | None = None) -> nn.Module:
    """The layer in integers; `dtype` is of the results, that of the states if left out."""
    fast = kernels_for(linear.weight)
    if fast is not None and fast.multiplies_integers and _tiles(linear):
        return TiledInt8Linear(linear, fast, dtype)
    return Int8Linear(linear, dtype)


def can_be_quantised() -> bool:
    """Whether integers are multiplied here, by kernels or by this torch, and rightly."""
    return _works(quantised, tolerance=0.05)


class TiledLinear(nn.Module):
    """A linear layer by the kernels, in fp32: a row's result does not depend on its batch, to the bit.

    They take one thread, and no time to set up, which for few rows is most of what oneDNN takes.
    """

    def __init__(self, linear: nn.Linear, kernels: Kernels) -> None:
        super().__init__()
        self.kernels, self.outputs = kernels, linear.out_features
        self.weight = _in_tiles(linear.weight, 1).squeeze(-1)  # (O / 32, I, 32)
        self.bias = _filled(_bias(linear))
        self.activation: Activation = "none"

    def forward(self, states: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        rows = states.flatten(0, -2).contiguous()
        result = self.kernels.multiply(rows, self.weight, self.bias, self.outputs, self.activation == "relu")
        return result.view(*states.shape[:-1], self.outputs)

    if TYPE_CHECKING:
        __call__ = forward


class PackedLinear(nn.Module):
    """A linear layer whose weight stays in oneDNN's blocked layout: no reordering at each product, as few rows as they be."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = _pack(linear.weight), linear.bias
        self.activation = "none"

    def forward(self, states: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(states, self.weight, self.bias, self.activation, [], "")
        return product

    if TYPE_CHECKING:
        __call__ = forward


class Int8Linear(nn.Module):
    """y = s_x s_w (x_int W_int) + b: weights scaled per output channel once, activations per row when they come.

    Products and sums are exact in 32 bits, and a row has a scale of its own: its result does not depend on its batch.
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
        """The byte that stands for 0; 0 itself where no state is negative, which makes the steps half as large."""
        self.lay_out((weight / self.scale[:, None]).round_())

    def lay_out(self, weight: Tensor) -> None:
        """Takes the integers (O, I) of the weights."""
        self.weight = torch.ops.onednn.qlinear_prepack(weight.to(torch.int8), None)
        self.zero = torch.zeros(len(weight), dtype=torch.long)

    def forward(self, states: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        rows, dtype = states.flatten(0, -2).contiguous(), self.dtype or states.dtype  # (N, I)
        return self.multiplied(rows, dtype).view(*states.shape[:-1], self.outputs)

    if TYPE_CHECKING:
        __call__ = forward

    def multiplied(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """(N, I) to (N, O)."""
        if (fast := kernels_for(rows)) is not None:
            integers, scales = fast.quantise(rows, self.middle)
            return fast.rescale(self._product(integers), scales, self.bias, self.activation == "relu", dtype)
        rows = rows.float()
        scale = rows.abs().amax(1, keepdim=True).clamp_(min=1e-12).div_(255 - self.middle)  # (N, 1)
        product = self._product(rows.div(scale).round_().add_(self.middle).to(torch.uint8))
        result = torch.addcmul(self.bias, product, scale, out=product).to(dtype)
        return result.relu_() if self.activation == "relu" else result

    def _product(self, integers: Tensor) -> Tensor:
        """Sums (N, O) of unsigned bytes times weights, scaled per output."""
        scales = (1.0, self.middle, self.weight, self.scale, self.zero)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            integers, *scales, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return product


class TiledInt8Linear(Int8Linear):
    """The same, to the bit, by the kernels of one thread: rounding, product and scaling in one pass."""

    def __init__(self, linear: nn.Linear, kernels: Kernels, dtype: torch.dtype | None = None) -> None:
        super().__init__(linear, dtype)
        self.kernels = kernels

    def lay_out(self, weight: Tensor) -> None:
        """See `Int8Linear.lay_out`."""
        tiles, sums = _in_tiles(weight, 4).to(torch.int8), _filled(weight.sum(1)).to(torch.int32)
        self.weights = (tiles, _filled(self.scale), sums, _filled(self.bias))

    def multiplied(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """See `Int8Linear.multiplied`."""
        relu = self.activation == "relu"
        return self.kernels.multiply_integers(rows, self.middle, self.weights, self.outputs, relu, dtype)


def _tiles(linear: nn.Linear) -> bool:
    """Whether the kernels are for it: they take one thread, and as much work for one output as for a tile of them."""
    return torch.get_num_threads() == 1 and linear.out_features >= TILE // 2


def _in_tiles(weight: Tensor, inner: int) -> Tensor:
    """Weights (O, I) as (O / TILE, I / inner, TILE, inner), filled up with zeros."""
    outputs, inputs = weight.shape
    whole = F.pad(weight.detach(), (0, -inputs % inner, 0, -outputs % TILE))
    return whole.unflatten(0, (-1, TILE)).unflatten(2, (-1, inner)).transpose(1, 2).contiguous()


def _filled(values: Tensor) -> Tensor:
    """Of each output one, (O,), and zeros up to the end of the last tile."""
    return F.pad(values.detach(), (0, -len(values) % TILE))


def _bias(linear: nn.Linear) -> Tensor:
    bias = dict(linear.named_parameters()).get("bias")
    return torch.zeros(linear.out_features) if bias is None else bias.detach().float()


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
    return packed


@cache
def _works(kind: Callable[[nn.Linear], nn.Module], tolerance: float) -> bool:
    """Whether the product, which is not part of torch's public interface, is there, and whether it is right."""
    linear = nn.Linear(16, 24).requires_grad_(False)
    states = torch.linspace(-1, 1, 48).view(3, 16)
    try:
        return torch.allclose(kind(linear)(states), F.linear(states, linear.weight, linear.bias), atol=tolerance)
    except (AttributeError, RuntimeError):
        return False
