"""Label-smoothed cross entropy in one pass: logits are read once and overwritten by their gradient."""

# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# Functions under @triton.jit are in Triton's language, whose tensors have no types.

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from nmt.fast.gpu.aside import aside
from nmt.fast.triton.columns import summed

_BLOCK = 16384

# N rows, V vocabulary, D width


@triton.jit
def _gradient(z, top, total, columns, target, vocabulary, smoothing):
    """Returns the gradient by the logits: p - (1 - e) [y] - e / V."""
    return tl.exp(z - top) / total - smoothing / vocabulary - tl.where(columns == target, 1.0 - smoothing, 0.0)


@triton.jit
def _whole(LOGITS, TARGETS, ROWS, vocabulary, smoothing, ignored, WRITE: tl.constexpr, BLOCK: tl.constexpr):
    """Processes a row whose logits fit into one block."""
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < vocabulary
    pointers = LOGITS + row.to(tl.int64) * vocabulary + columns
    target = tl.load(TARGETS + row).to(tl.int32)
    if target == ignored:
        top, total, chosen, mean = 0.0, 1.0, 0.0, 0.0
        if WRITE:
            tl.store(pointers, tl.zeros([BLOCK], LOGITS.dtype.element_ty), inside)
    else:
        z = tl.load(pointers, inside, -float("inf")).to(tl.float32)
        top = tl.max(z, 0)
        total = tl.sum(tl.exp(z - top), 0)
        chosen = tl.sum(tl.where(columns == target, z, 0.0), 0)
        mean = tl.sum(tl.where(inside, z, 0.0), 0) / vocabulary
        if WRITE:
            d_z = _gradient(z, top, total, columns, target, vocabulary, smoothing)
            tl.store(pointers, d_z.to(LOGITS.dtype.element_ty), inside)
    _put(ROWS + row * 3, target != ignored, top, total, chosen, mean, smoothing)


@triton.jit
def _parts(LOGITS, TARGETS, ROWS, vocabulary, smoothing, ignored, WRITE: tl.constexpr, BLOCK: tl.constexpr):
    """Processes a row of any length block by block: once for the sums, once more for the gradient."""
    row = tl.program_id(0)
    start = LOGITS + row.to(tl.int64) * vocabulary
    target = tl.load(TARGETS + row).to(tl.int32)
    real = target != ignored
    limit = tl.where(real, vocabulary, 0)
    best = tl.full([BLOCK], -1e30, tl.float32)
    sums = tl.zeros([BLOCK], tl.float32)
    chosen = tl.zeros([BLOCK], tl.float32)
    mean = tl.zeros([BLOCK], tl.float32)
    for first in range(0, limit, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        inside = columns < vocabulary
        z = tl.load(start + columns, inside, -1e30).to(tl.float32)
        higher = tl.maximum(best, z)
        sums = sums * tl.exp(best - higher) + tl.where(inside, tl.exp(z - higher), 0.0)
        best = higher
        chosen += tl.where(columns == target, z, 0.0)
        mean += tl.where(inside, z, 0.0)
    top = tl.where(real, tl.max(best, 0), 0.0)
    total = tl.where(real, tl.sum(sums * tl.exp(tl.minimum(best - top, 0.0)), 0), 1.0)
    if WRITE:
        for first in range(0, vocabulary, BLOCK):
            columns = first + tl.arange(0, BLOCK)
            inside = columns < vocabulary
            z = tl.load(start + columns, columns < limit, 0.0).to(tl.float32)
            d_z = tl.where(real, _gradient(z, top, total, columns, target, vocabulary, smoothing), 0.0)
            tl.store(start + columns, d_z.to(LOGITS.dtype.element_ty), inside)
    _put(ROWS + row * 3, real, top, total, tl.sum(chosen, 0), tl.sum(mean, 0) / vocabulary, smoothing)


@triton.jit
def _put(ROW, real, top, total, chosen, mean, smoothing):
    """Stores loss, negative log-likelihood and whether the target is the most probable token; zeros for an empty row."""
    normaliser = top + tl.log(total)
    negative = normaliser - chosen
    loss = (1.0 - smoothing) * negative + smoothing * (normaliser - mean)
    tl.store(ROW, tl.where(real, loss, 0.0))
    tl.store(ROW + 1, tl.where(real, negative, 0.0))
    tl.store(ROW + 2, tl.where(real & (chosen >= top), 1.0, 0.0))


def visit(logits: Tensor, target: Tensor, smoothing: float, ignored: int, write: bool) -> Tensor:
    """Returns loss, negative log-likelihood and correctness of each row (N, 3), and overwrites logits (N, V) by their gradient.

    Args:
        logits: fp32 or bf16, contiguous; unchanged unless `write`.
        target: (N,) of any integer type.
        smoothing: see `nmt.training.loss.smoothed_cross_entropy`.
        ignored: target that marks empty rows.
        write: whether to write the gradient.
    """
    rows, vocabulary = logits.shape
    found = torch.empty((rows, 3), dtype=torch.float32, device=logits.device)
    kernel, block = _whole, triton.next_power_of_2(vocabulary)
    if block > _BLOCK:
        kernel, block = _parts, _BLOCK // 2
    warps = max(1, min(16, block // 512))
    kernel[(rows,)](logits, target, found, vocabulary, smoothing, ignored, WRITE=write, BLOCK=block, num_warps=warps)
    return found


@torch.library.custom_op("nmt::projected_cross_entropy", mutates_args=())
def projected_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor, target: Tensor, smoothing: float, ignored: int, gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns sums (3,), the results of `visit` (N, 3), and the gradient by the logits (N, V), or an empty tensor."""
    logits = F.linear(hidden, weight, bias)
    rows = visit(logits, target, smoothing, ignored, gradient)
    return rows.sum(0), rows, logits if gradient else logits.new_empty(0)


@projected_cross_entropy.register_fake
def _(hidden, weight, bias, target, smoothing, ignored, gradient):
    rows = len(hidden)
    shape = (rows, len(weight)) if gradient else (0,)
    exact = torch.float32
    return hidden.new_empty(3, dtype=exact), hidden.new_empty((rows, 3), dtype=exact), hidden.new_empty(shape)


def _setup(ctx, inputs, output):
    ctx.save_for_backward(inputs[0], inputs[1], output[2])
    ctx.mark_non_differentiable(output[1], output[2])
    ctx.set_materialize_grads(False)


def _autograd(ctx, d_sums, _rows, _gradient):
    hidden, weight, by_logits = ctx.saved_tensors
    factor = d_sums[0].to(by_logits.dtype)
    d_weight = by_logits.t() @ hidden
    d_bias = aside(lambda: summed(by_logits) * factor, by_logits, factor)
    return by_logits @ weight * factor, d_weight * factor, d_bias, None, None, None, None


projected_cross_entropy.register_autograd(_autograd, setup_context=_setup)
