"""Column sums: the gradient of a bias, in one pass over the gradient of the sum, and a short one over the shares of it."""

# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# Functions under @triton.jit are in Triton's language, whose tensors have no types.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from nmt.fast.gpu.aside import aside

_ROWS, _COLUMNS = 32, 256  # a tile: large, as memory latency is high
_PROGRAMS = 128  # programs that share the rows; each has separate sums
_SHARES, _BESIDE = 256, 32  # shares and columns added up at once

# N rows, D width, F width of the product, P programs, K vectors


@triton.jit
def _sums(
    VALUES, SHARES, n_rows, stride, width,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Computes one program's share of the sums of some columns."""
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    share = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(tl.program_id(0) * ROWS, n_rows, tl.num_programs(0) * ROWS):
        rows = start + tl.arange(0, ROWS)
        inside = (rows < n_rows)[:, None] & (columns < width)[None, :]
        share += tl.load(VALUES + rows[:, None].to(tl.int64) * stride + columns[None, :], inside, 0.0).to(tl.float32)
    tl.store(SHARES + tl.program_id(0) * width + columns, tl.sum(share, 0), columns < width)


@torch.library.custom_op("nmt::column_shares", mutates_args=())
def column_shares(values: Tensor) -> Tensor:
    """Returns shares (programs, F) of the column sums of values (N, F), in fp32."""
    values = values if values.stride(1) == 1 else values.contiguous()
    shares = _room(values)
    grid = len(shares), triton.cdiv(values.shape[1], _COLUMNS)
    _sums[grid](
        values, shares, len(values), values.stride(0), values.shape[1], ROWS=_ROWS, COLUMNS=_COLUMNS, num_warps=8
    )
    return shares


@column_shares.register_fake
def _(values):
    return _room(values)


@triton.jit
def _totals(SHARES, OUT, count, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Adds up the shares of some columns of one vector, in a fixed order."""
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    first, total = tl.program_id(1) * count, tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(0, count, ROWS):
        rows = start + tl.arange(0, ROWS)
        inside = (rows < count)[:, None] & (columns < width)[None, :]
        total += tl.load(SHARES + (first + rows)[:, None] * width + columns[None, :], inside, 0.0)
    sums = tl.sum(total, 0).to(OUT.dtype.element_ty)
    tl.store(OUT + tl.program_id(1) * width + columns, sums, columns < width)


@torch.library.custom_op("nmt::totals", mutates_args=())
def totals(shares: Tensor, dtype: torch.dtype) -> Tensor:
    """Adds up the shares (K, P, F) of K vectors, in fp32: (K, F), in a precision."""
    kinds, programs, width = shares.shape
    found = shares.new_empty((kinds, width), dtype=dtype)
    rows = min(_SHARES, triton.next_power_of_2(programs))
    grid = triton.cdiv(width, _BESIDE), kinds
    _totals[grid](shares, found, programs, width, ROWS=rows, COLUMNS=_BESIDE, num_warps=8)
    return found


@totals.register_fake
def _(shares, dtype):
    return shares.new_empty((shares.shape[0], shares.shape[2]), dtype=dtype)


def _room(values: Tensor) -> Tensor:
    rows, width = values.shape
    return values.new_empty((max(1, min(_PROGRAMS, triton.cdiv(rows, _ROWS))), width), dtype=torch.float32)


class Product(torch.autograd.Function):
    """Multiplies states (N, D) by weight (F, D) and adds bias (F,) if given, as torch does, with faster gradients of both."""

    @staticmethod
    def forward(ctx, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Returns the product (N, F)."""
        ctx.save_for_backward(states, weight)
        ctx.biased = bias is not None
        return states @ weight.t() if bias is None else torch.addmm(bias, states, weight.t())

    @staticmethod
    def backward(ctx, gradient: Tensor):
        """Returns the gradients of states, weight and bias."""
        states, weight = ctx.saved_tensors
        d_bias = aside(lambda: summed(gradient), gradient) if ctx.biased else None
        d_weight = aside(lambda: gradient.t() @ states, gradient, states)
        return gradient @ weight, d_weight, d_bias


def summed(gradient: Tensor) -> Tensor:
    """Sums the columns of a gradient (N, F), in its precision: (F,)."""
    return total(torch.ops.nmt.column_shares(gradient), gradient.dtype)


def total(shares: Tensor, dtype: torch.dtype) -> Tensor:
    """Adds up the shares (P, F) of one vector: (F,), in a precision."""
    return torch.ops.nmt.totals(shares[None], dtype)[0]
