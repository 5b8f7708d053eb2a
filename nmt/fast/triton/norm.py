"""Residual connections: dropout, sum and norm in one pass, forward and backward; and activation with dropout."""

# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# Functions under @triton.jit are in Triton's language, whose tensors have no types.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from nmt.fast.gpu.aside import aside
from nmt.fast.gpu.dropout import scale, threshold
from nmt.fast.triton.columns import totals
from nmt.fast.triton.places import far, long
from nmt.fast.triton.random import kept, keys_of

_PROGRAMS = 1024  # programs that share the rows of a backward pass; each has separate sums for the weights
_TILE = 1024  # numbers processed at once

# N rows, D width


@triton.jit
def _moments(x, inside, width, epsilon, RMS: tl.constexpr):
    """Returns centred rows (rows, D), and the reciprocal of their deviation (rows, 1)."""
    if not RMS:
        x = tl.where(inside, x - (tl.sum(x, 1) / width)[:, None], 0.0)
    return x, tl.rsqrt(tl.sum(x * x, 1) / width + epsilon)[:, None]


@triton.jit
def _forward(
    STATES, UPDATE, WEIGHT, BIAS, SHIFT, SEED, TOTAL, NORMED, n_rows, width, epsilon, kept_scale,
    THRESHOLD: tl.constexpr, RMS: tl.constexpr, SHIFTED: tl.constexpr, ALONE: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr, LONG: tl.constexpr,
):  # fmt: skip
    """Computes TOTAL = STATES + dropout(UPDATE + SHIFT) of a tile of rows, and its norm; ALONE: there are no states."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK)
    inside = (rows < n_rows)[:, None] & (columns < width)[None, :]
    places = rows[:, None] * far(width, LONG) + columns[None, :]
    update = tl.load(UPDATE + places, inside, 0.0).to(tl.float32)
    if SHIFTED:
        update += tl.load(SHIFT + columns, columns < width, 0.0).to(tl.float32)[None, :]
    if THRESHOLD > 0:
        first, second = keys_of(SEED)
        update = tl.where(kept(first, second, places.to(tl.uint32), THRESHOLD), update * kept_scale, 0.0)
    if not ALONE:
        update += tl.load(STATES + places, inside, 0.0).to(tl.float32)
    total = update.to(TOTAL.dtype.element_ty)
    tl.store(TOTAL + places, total, inside)
    centred, rate = _moments(total.to(tl.float32), inside, width, epsilon, RMS)
    normed = centred * rate * tl.load(WEIGHT + columns, columns < width, 0.0).to(tl.float32)[None, :]
    if not RMS:
        normed += tl.load(BIAS + columns, columns < width, 0.0).to(tl.float32)[None, :]
    tl.store(NORMED + places, normed.to(NORMED.dtype.element_ty), inside)


@triton.jit
def _backward(
    TOTAL, WEIGHT, SEED, D_TOTAL, D_NORMED, D_STATES, D_UPDATE, D_WEIGHT, D_BIAS, D_SHIFT,
    n_rows, width, epsilon, kept_scale,
    THRESHOLD: tl.constexpr, RMS: tl.constexpr, SHIFTED: tl.constexpr, ALONE: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr, LONG: tl.constexpr, MORE: tl.constexpr,
):  # fmt: skip
    """Processes one program's share of tiles; MORE: TOTAL is also used elsewhere and has the gradient D_TOTAL."""
    columns = tl.arange(0, BLOCK)
    weight = tl.load(WEIGHT + columns, columns < width, 0.0).to(tl.float32)[None, :]
    d_weight = tl.zeros([ROWS, BLOCK], tl.float32)
    d_bias = tl.zeros([ROWS, BLOCK], tl.float32)
    d_shift = tl.zeros([ROWS, BLOCK], tl.float32)
    if THRESHOLD > 0:
        first, second = keys_of(SEED)
    for start in range(tl.program_id(0) * ROWS, n_rows, tl.num_programs(0) * ROWS):
        rows = start + tl.arange(0, ROWS)
        inside = (rows < n_rows)[:, None] & (columns < width)[None, :]
        places = rows[:, None] * far(width, LONG) + columns[None, :]
        centred, rate = _moments(tl.load(TOTAL + places, inside, 0.0).to(tl.float32), inside, width, epsilon, RMS)
        standard = centred * rate
        gradient = tl.load(D_NORMED + places, inside, 0.0).to(tl.float32)
        d_weight += gradient * standard
        d_bias += gradient
        gradient *= weight
        change = gradient - standard * (tl.sum(gradient * standard, 1) / width)[:, None]
        if not RMS:
            change -= (tl.sum(gradient, 1) / width)[:, None]
        change *= rate
        if MORE:
            change += tl.load(D_TOTAL + places, inside, 0.0).to(tl.float32)
        if THRESHOLD == 0 or not ALONE:
            tl.store(D_STATES + places, change.to(D_STATES.dtype.element_ty), inside)
        if THRESHOLD > 0:
            change = tl.where(kept(first, second, places.to(tl.uint32), THRESHOLD), change * kept_scale, 0.0)
            tl.store(D_UPDATE + places, change.to(D_UPDATE.dtype.element_ty), inside)
        if SHIFTED:
            d_shift += tl.where(inside, change, 0.0)
    share = tl.program_id(0) * width + columns
    tl.store(D_WEIGHT + share, tl.sum(d_weight, 0), columns < width)
    if not RMS:
        tl.store(D_BIAS + share, tl.sum(d_bias, 0), columns < width)
    if SHIFTED:
        tl.store(D_SHIFT + share, tl.sum(d_shift, 0), columns < width)


def _options(states: Tensor, dropout: float, rms: bool, shifted: bool, alone: bool) -> dict[str, int]:
    block = triton.next_power_of_2(states.shape[1])
    rows = max(1, _TILE // block)
    warps = max(4, min(32, block * rows // 512))
    kind = {"THRESHOLD": threshold(dropout), "RMS": rms, "SHIFTED": shifted, "ALONE": alone}
    return {**kind, "ROWS": rows, "BLOCK": block, "LONG": long(states), "num_warps": warps}


@torch.library.custom_op("nmt::residual_norm", mutates_args=())
def residual_norm(
    states: Tensor | None, update: Tensor, weight: Tensor, bias: Tensor | None, shift: Tensor | None,
    seed: Tensor | None, epsilon: float, dropout: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Returns sum and norm, each (N, D), see `nmt.fast.gpu.norm.residual_norm`."""
    states, update = None if states is None else states.contiguous(), update.contiguous()
    total, normed = torch.empty_like(update), torch.empty_like(update)
    options = _options(update, dropout, bias is None, shift is not None, states is None)
    _forward[(triton.cdiv(len(update), options["ROWS"]),)](
        states, update, weight, bias, shift, seed, total, normed, *update.shape, epsilon, scale(dropout), **options
    )
    return total, normed


@residual_norm.register_fake
def _(states, update, weight, bias, shift, seed, epsilon, dropout):
    return update.new_empty(update.shape), update.new_empty(update.shape)


@torch.library.custom_op("nmt::residual_norm_backward", mutates_args=())
def residual_norm_backward(
    d_total: Tensor | None, d_normed: Tensor, total: Tensor, weight: Tensor, seed: Tensor | None,
    epsilon: float, dropout: float, rms: bool, shifted: bool, alone: bool,
) -> list[Tensor]:  # fmt: skip
    """Returns gradients: shares of the vectors (kinds, programs, D), states (N, D), and with dropout the update (N, D).

    The vectors are the weight, without `rms` the bias, and if `shifted` the shift. Their shares are still to be summed.
    """
    shares, *gradients = _room(total, dropout, rms, shifted, alone)
    options, more = _options(total, dropout, rms, shifted, alone), d_total is not None
    d_total = total if d_total is None else d_total.contiguous()
    _backward[(shares.shape[1],)](
        total, weight, seed, d_total, d_normed.contiguous(), gradients[0], gradients[-1],
        shares[0], shares[0 if rms else 1], shares[-1], *total.shape, epsilon, scale(dropout), **options, MORE=more,
    )  # fmt: skip
    return [shares, *gradients]


@residual_norm_backward.register_fake
def _(d_total, d_normed, total, weight, seed, epsilon, dropout, rms, shifted, alone):
    return _room(total, dropout, rms, shifted, alone)


def _room(total: Tensor, dropout: float, rms: bool, shifted: bool, alone: bool) -> list[Tensor]:
    """Allocates shares of the vectors' gradients, and the gradients of states and update."""
    rows, width = total.shape
    options = _options(total, dropout, rms, shifted, alone)
    programs = max(1, min(_PROGRAMS, triton.cdiv(rows, options["ROWS"])))
    shares = total.new_empty((2 - rms + shifted, programs, width), dtype=torch.float32)
    return [shares, *(total.new_empty(total.shape) for _ in range(2 if threshold(dropout) and not alone else 1))]


def _setup(ctx, inputs, output):
    states, _, weight, bias, shift, seed, *ctx.options = inputs
    ctx.kind = bias is None, shift is not None, states is None
    ctx.save_for_backward(output[0], weight, seed)
    ctx.set_materialize_grads(False)


def _autograd(ctx, d_total, d_normed):
    total, weight, seed = ctx.saved_tensors
    if d_normed is None:
        d_normed = torch.zeros_like(total)
    shares, *gradients = torch.ops.nmt.residual_norm_backward(
        d_total, d_normed, total, weight, seed, *ctx.options, *ctx.kind
    )
    sums = aside(lambda: list(totals(shares, weight.dtype).unbind()), shares)
    rms, shifted, alone = ctx.kind
    d_weight, d_bias, d_shift = sums[0], None if rms else sums[1], sums[-1] if shifted else None
    return None if alone else gradients[0], gradients[-1], d_weight, d_bias, d_shift, None, None, None


residual_norm.register_autograd(_autograd, setup_context=_setup)


@triton.jit
def _activate(STATES, SEED, OUT, count, kept_scale, GELU: tl.constexpr, THRESHOLD: tl.constexpr, BLOCK: tl.constexpr):
    """Applies activation and dropout to a block of numbers."""
    places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = places < count
    x = tl.load(STATES + places, inside, 0.0).to(tl.float32)
    x = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476)) if GELU else tl.maximum(x, 0.0)
    if THRESHOLD > 0:
        first, second = keys_of(SEED)
        x = tl.where(kept(first, second, places.to(tl.uint32), THRESHOLD), x * kept_scale, 0.0)
    tl.store(OUT + places, x.to(OUT.dtype.element_ty), inside)


@triton.jit
def _activate_backward(
    SAVED, SEED, D_OUT, D_STATES, count, kept_scale, GELU: tl.constexpr, THRESHOLD: tl.constexpr, BLOCK: tl.constexpr
):
    """Computes the gradient of a block. SAVED is the input with GELU, else the output, positive where gradients pass."""
    places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = places < count
    x = tl.load(SAVED + places, inside, 0.0).to(tl.float32)
    gradient = tl.load(D_OUT + places, inside, 0.0).to(tl.float32) * kept_scale
    if GELU:
        normal = 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
        gradient *= normal + x * tl.exp(-0.5 * x * x) * 0.3989422804014327
        if THRESHOLD > 0:
            first, second = keys_of(SEED)
            gradient = tl.where(kept(first, second, places.to(tl.uint32), THRESHOLD), gradient, 0.0)
    else:
        gradient = tl.where(x > 0, gradient, 0.0)
    tl.store(D_STATES + places, gradient.to(D_STATES.dtype.element_ty), inside)


@torch.library.custom_op("nmt::activated", mutates_args=())
def activated(states: Tensor, seed: Tensor | None, gelu: bool, dropout: float) -> Tensor:
    """Applies ReLU or GELU and dropout to states of any shape, see `nmt.fast.gpu.norm.activated`."""
    states = states.contiguous()
    out = torch.empty_like(states)
    _activate[(triton.cdiv(states.numel(), _TILE),)](
        states, seed, out, states.numel(), scale(dropout), GELU=gelu, THRESHOLD=threshold(dropout), BLOCK=_TILE
    )
    return out


@torch.library.custom_op("nmt::activated_backward", mutates_args=())
def activated_backward(gradient: Tensor, saved: Tensor, seed: Tensor | None, gelu: bool, dropout: float) -> Tensor:
    """Returns the gradient of the states."""
    found = saved.new_empty(saved.shape)
    _activate_backward[(triton.cdiv(saved.numel(), _TILE),)](
        saved.contiguous(), seed, gradient.contiguous(), found, saved.numel(), scale(dropout),
        GELU=gelu, THRESHOLD=threshold(dropout), BLOCK=_TILE,
    )  # fmt: skip
    return found


@activated.register_fake
def _(states, seed, gelu, dropout):
    return states.new_empty(states.shape)


@activated_backward.register_fake
def _(gradient, saved, seed, gelu, dropout):
    return saved.new_empty(saved.shape)


def _setup_activated(ctx, inputs, output):
    states, seed, *ctx.options = inputs
    ctx.save_for_backward(states if ctx.options[0] else output, seed)


def _autograd_activated(ctx, gradient):
    return torch.ops.nmt.activated_backward(gradient, *ctx.saved_tensors, *ctx.options), None, None, None


activated.register_autograd(_autograd_activated, setup_context=_setup_activated)
