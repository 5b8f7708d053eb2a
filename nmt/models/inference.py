"""A trained model made ready for search: frozen, in the precision asked for, its matrices laid out as the CPU likes them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.device import SearchPrecision, has_fast_bf16
from nmt.errors import ConfigError
from nmt.kernels import LANES, Kernels, kernels, kernels_for
from nmt.models.attending import AttendingDecoder, Look
from nmt.models.recurrence import RnnMemory
from nmt.models.scores import AdditiveScore
from nmt.models.transformer import FeedForward, Transformer
from nmt.models.weighting import Softmax

AnyModule = TypeVar("AnyModule", bound=nn.Module)

# N rows, I inputs, O outputs of a linear layer


def ready_for_search(model: AnyModule, device: torch.device, precision: SearchPrecision) -> AnyModule:
    """A copy of the model on the device, for inference only.

    fp32 and bf16 are the type of all weights and states. int8 multiplies in integers: all matrices of a Transformer, with
    states in fp32, where there are kernels to turn numbers into integers and back; else what repays that in torch's
    operations, logits and the encoder, and leaves the rest in bf16, or in fp32 where the CPU has no bf16.

    Raises:
        ConfigError: int8 was asked for, and this torch cannot multiply integers here.
    """
    if precision == "int8" and not _works(Int8Linear, tolerance=0.05):
        raise ConfigError("this torch has no int8 products for this machine; use --precision fp32 or bf16")
    ready = copy.deepcopy(model).eval().requires_grad_(False).to(device)
    if next(ready.parameters()).dtype == torch.float64:  # the reference of the tests
        return ready
    integers = precision == "int8" and isinstance(model, Transformer) and kernels() is not None
    half = precision == "bf16" or (precision == "int8" and not integers and has_fast_bf16())
    ready = ready.to(torch.bfloat16 if half else torch.float32)
    if device.type == "cpu" and _works(PackedLinear, tolerance=1e-5):
        if precision == "int8" and not integers:
            _quantise_in_part(ready)
        _replace_linear(ready, Int8Linear if integers else PackedLinear)  # what is left
        _fuse_attention(ready)
    return ready


def ready_output(linear: nn.Linear, precision: SearchPrecision, device: torch.device) -> nn.Linear:
    """An output layer as `ready_for_search` makes it; typed as what it stands in for."""
    linear = linear.to(device)
    if linear.weight.dtype == torch.float64:
        return linear
    if device.type == "cpu" and precision == "int8":
        return Int8Linear(linear, torch.float32)  # type: ignore[return-value]
    half = precision != "fp32" and (device.type != "cpu" or has_fast_bf16())
    linear = linear.to(torch.bfloat16 if half else torch.float32)
    packed = device.type == "cpu" and _works(PackedLinear, tolerance=1e-5)
    return PackedLinear(linear) if packed else linear  # type: ignore[return-value]


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
        """Quantises a layer; `dtype` is of the results, that of the states if left out."""
        super().__init__()
        self.dtype = dtype
        weight = linear.weight.float()
        self.scale = weight.abs().amax(1).clamp_(min=1e-12).div_(127)  # (O,)
        self.zero = torch.zeros(len(weight), dtype=torch.long)
        self.weight = torch.ops.onednn.qlinear_prepack((weight / self.scale[:, None]).round_().to(torch.int8), None)
        bias = linear._parameters["bias"]  # None if it has none, which the type of `bias` does not say
        self.bias = torch.zeros(len(weight)) if bias is None else bias.float()
        self.activation: Literal["none", "relu"] = "none"
        self.middle = 128
        """The byte that stands for 0; 0 itself where no state is negative, which makes the steps half as large."""

    def forward(self, states: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        rows, dtype = states.flatten(0, -2), self.dtype or states.dtype  # (N, I)
        if (fast := kernels_for(rows)) is not None:
            integers, scales = fast.quantise(rows.contiguous(), self.middle)
            result = fast.rescale(self._product(integers), scales, self.bias, self.activation == "relu", dtype)
            return result.view(*states.shape[:-1], -1)
        rows = rows.float()
        scale = rows.abs().amax(1, keepdim=True).clamp_(min=1e-12).div_(255 - self.middle)  # (N, 1)
        product = self._product(rows.div(scale).round_().add_(self.middle).to(torch.uint8))
        result = torch.addcmul(self.bias, product, scale, out=product).to(dtype)
        return (result.relu_() if self.activation == "relu" else result).view(*states.shape[:-1], -1)

    if TYPE_CHECKING:
        __call__ = forward

    def _product(self, integers: Tensor) -> Tensor:
        """Sums (N, O) of unsigned bytes times weights, scaled per output."""
        scales = (1.0, self.middle, self.weight, self.scale, self.zero)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            integers, *scales, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return product


class ExponentialScore(nn.Module):
    """Additive attention without a tanh for each pair of states: its exponentials factor, and each is taken once.

    tanh(q + k) = 1 - 2 / (1 + e^2q e^2k), so that v . tanh(q + k) is -2 v . 1 / (1 + e^2q e^2k) and a constant, which the
    softmax does not see.
    """

    def __init__(self, score: AdditiveScore) -> None:
        super().__init__()
        self.key, self.query, self.combine = score.keys, score.query, score.combine
        self.vector = score.combine.weight[0].float()  # v (A,)

    def keys(self, values: Tensor) -> Tensor:
        """Exponentials (B, S, A) of the keys of values (B, S, C)."""
        return self._exponential(self.key(values))

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores (B, T, S), but for a constant, of query (B, T, Q) against keys (B, S, A)."""
        sums = self.factors(query)[:, :, None] * keys[:, None]  # (B, T, S, A)
        return self.combine(sums.add_(1).reciprocal_()).squeeze(-1) * -2

    if TYPE_CHECKING:
        __call__ = forward

    def factors(self, query: Tensor) -> Tensor:
        """Exponentials (..., A) of a query (..., Q)."""
        return self._exponential(self.query(query))

    @staticmethod
    def _exponential(states: Tensor) -> Tensor:
        """Kept where two of them still multiply within single precision; tanh is flat long before."""
        return torch.exp(states.float().clamp(-20, 20) * 2).to(states.dtype)


class AdditiveLook:
    """What `AttendingDecoder.look` sees by additive attention, in one pass of a kernel: scores, softmax and context."""

    def __init__(self, score: ExponentialScore, kernels: Kernels) -> None:
        self.score, self.kernels = score, kernels

    def __call__(self, query: Tensor, memory: RnnMemory, *_: object) -> Look:
        """Contexts (B, T, C) of queries (B, T, H); the mask of the memory says what its bias would."""
        parts = (self.score.factors(query).flatten(0, 1), memory.keys, self.score.vector, memory.values, memory.mask)
        context, weights = self.kernels.attend_additive(*(part.contiguous() for part in parts))
        return Look(context.unflatten(0, query.shape[:2]), weights.unflatten(0, query.shape[:2]), None)


def _fuse_attention(model: nn.Module) -> None:
    """Additive attention by a softmax in one pass, where there are kernels and they take its widths."""
    fast = kernels()
    for module in model.modules():
        if fast is None or not isinstance(module, AttendingDecoder) or not isinstance(module.weighting, Softmax):
            continue
        score: nn.Module = module.score
        if isinstance(score, ExponentialScore) and not (len(score.vector) % LANES or module.context_width % LANES):
            module.look = AdditiveLook(score, fast)  # type: ignore[method-assign,assignment]


def _quantise_in_part(model: nn.Module) -> None:
    """Logits, and the encoder, which sees whole sentences; a decoder sees one position of each at a time, too few rows."""
    if isinstance(output := getattr(model, "output", None), nn.Linear):
        model.output = Int8Linear(output, torch.float32)
    for name, child in model.named_children():
        if name.startswith("encoder"):
            _replace_linear(child, _quantised)


def _quantised(linear: nn.Linear) -> nn.Module:
    """In integers where the outputs outnumber the inputs, whose rounding has to be paid for; else as it is, packed."""
    return Int8Linear(linear) if linear.out_features > linear.in_features else PackedLinear(linear)


def _replace_linear(module: nn.Module, kind: Callable[[nn.Linear], nn.Module]) -> None:
    for name, child in module.named_children():
        if type(child) is AdditiveScore:  # with coverage the exponentials do not factor
            child = ExponentialScore(child)  # noqa: PLW2901  # its layers are replaced below
            setattr(module, name, child)
        if isinstance(child, nn.Linear):
            setattr(module, name, kind(child))
        else:
            _replace_linear(child, kind)
    if isinstance(module, FeedForward) and module.activation is F.relu:
        _fuse_relu(module)


def _fuse_relu(module: FeedForward) -> None:
    """Cuts off at zero while the product is in registers; what comes after sees no negative number."""
    if isinstance(module.inner, PackedLinear | Int8Linear):
        module.inner.activation, module.activation = "relu", nn.Identity()
    if isinstance(module.outer, Int8Linear):
        module.outer.middle = 0


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
    return packed


@cache
def _works(kind: Callable[[nn.Linear], nn.Module], tolerance: float) -> bool:
    """Whether this torch has the product, which is not part of its public interface, and whether it is right."""
    linear = nn.Linear(16, 24).requires_grad_(False)
    states = torch.linspace(-1, 1, 48).view(3, 16)
    try:
        return torch.allclose(kind(linear)(states), F.linear(states, linear.weight, linear.bias), atol=tolerance)
    except (AttributeError, RuntimeError):
        return False
