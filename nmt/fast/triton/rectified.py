"""The first product of a feed-forward network with its ReLU, which the product itself applies."""

# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false, reportPrivateImportUsage=false
# Functions under @triton.jit are in Triton's language, whose tensors have no types.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from nmt.fast.gpu.aside import aside
from nmt.fast.triton.columns import total

_ROWS, _COLUMNS = 16, 256  # a tile
_PROGRAMS = 128  # programs that share the rows of a backward pass; each has separate sums for the bias

# N rows, D width, F inner width


@triton.jit
def _backward(
    OUT, D_OUT, D_SUMS, SHARES, n_rows, width,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Computes the gradient of the sums, which passes where the output is positive, and a share of the bias's gradient."""
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    share = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(tl.program_id(0) * ROWS, n_rows, tl.num_programs(0) * ROWS):
        rows = start + tl.arange(0, ROWS)
        inside = (rows < n_rows)[:, None] & (columns < width)[None, :]
        places = rows[:, None].to(tl.int64) * width + columns[None, :]
        out = tl.load(OUT + places, inside, 0.0)
        gradient = tl.load(D_OUT + places, inside, 0.0)
        gradient = tl.where(out > 0, gradient, 0.0)
        tl.store(D_SUMS + places, gradient, inside)
        share += gradient.to(tl.float32)
    tl.store(SHARES + tl.program_id(0) * width + columns, tl.sum(share, 0), columns < width)


@torch.library.custom_op("nmt::rectified_product", mutates_args=())
def rectified_product(states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns ReLU of states (N, D) times weight (F, D), plus bias (F,)."""
    return torch._addmm_activation(bias, states, weight.t())


@rectified_product.register_fake
def _(states, weight, bias):
    return states.new_empty((len(states), len(weight)))


@torch.library.custom_op("nmt::rectified_backward", mutates_args=())
def rectified_backward(gradient: Tensor, out: Tensor) -> list[Tensor]:
    """Returns the gradient of the sums (N, F), and shares (programs, F) of the bias's gradient, still to be summed."""
    d_sums, shares = _room(out)
    grid = len(shares), triton.cdiv(out.shape[1], _COLUMNS)
    _backward[grid](out, gradient.contiguous(), d_sums, shares, *out.shape, ROWS=_ROWS, COLUMNS=_COLUMNS)
    return [d_sums, shares]


@rectified_backward.register_fake
def _(gradient, out):
    return _room(out)


def _room(out: Tensor) -> list[Tensor]:
    rows, width = out.shape
    programs = max(1, min(_PROGRAMS, triton.cdiv(rows, _ROWS)))
    return [torch.empty_like(out), out.new_empty((programs, width), dtype=torch.float32)]


def _setup(ctx, inputs, output):
    ctx.save_for_backward(inputs[0], inputs[1], output)


def _autograd(ctx, gradient):
    states, weight, out = ctx.saved_tensors
    d_sums, shares = torch.ops.nmt.rectified_backward(gradient, out)
    d_weight = aside(lambda: d_sums.t() @ states, d_sums, states)
    d_bias = aside(lambda: total(shares, out.dtype), shares)
    return d_sums @ weight, d_weight, d_bias


rectified_product.register_autograd(_autograd, setup_context=_setup)
