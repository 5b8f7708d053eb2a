"""Attention between packed rows of many sentences: tiles of rows, each against the keys of its sentences.

The scores never leave the chip (Dao et al. 2022, FlashAttention). Sentences are short, so a tile holds several. It reads from
the first key of its first sentence to the last key of its last one.
"""

# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# Functions under @triton.jit are in Triton's language, whose tensors have no types.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from nmt.fast.gpu.dropout import scale as kept_scale
from nmt.fast.gpu.dropout import threshold
from nmt.fast.triton.places import far, long
from nmt.fast.triton.random import kept, keys_of

_LOG2_E = 1.4426950408889634

# N rows of queries, M rows of keys and values, W = H * D width, H heads, D width of a head


@triton.jit
def _span(START, COUNT, rows, inside, CAUSAL: tl.constexpr):
    """Returns first key and end of the keys of each row."""
    low = tl.load(START + rows, inside, 0)
    high = low + tl.load(COUNT + rows, inside, 0)
    if CAUSAL:
        high = tl.minimum(high, rows + 1)
    return low, high


@triton.jit
def _tile(POINTER, stride, rows, inside, head, D: tl.constexpr, DB: tl.constexpr):
    """Loads rows of one head (rows, DB); zeros outside."""
    column = tl.arange(0, DB)
    mask = inside[:, None]
    if DB != D:
        mask = mask & (column < D)[None, :]
    return tl.load(POINTER + rows[:, None] * stride + head * D + column[None, :], mask, 0.0)


@triton.jit
def _put(POINTER, stride, rows, inside, head, values, D: tl.constexpr, DB: tl.constexpr):
    """Stores rows of one head (rows, DB)."""
    column = tl.arange(0, DB)
    mask = inside[:, None]
    if DB != D:
        mask = mask & (column < D)[None, :]
    tl.store(POINTER + rows[:, None] * stride + head * D + column[None, :], values.to(POINTER.dtype.element_ty), mask)


@triton.jit
def _scores(q, k, rows, keys, low, high, scale, slope, ALIBI: tl.constexpr, PRECISION: tl.constexpr):
    """Returns scores in units of log 2 (rows, keys), and which of them count."""
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
    if ALIBI:
        scores -= slope * tl.abs(rows[:, None] - keys[None, :]).to(tl.float32)
    seen = (keys[None, :] >= low[:, None]) & (keys[None, :] < high[:, None])
    return tl.where(seen, scores, -1e30), seen


@triton.jit
def _mask(first, second, head, rows, keys, low, n_rows, THRESHOLD: tl.constexpr):
    """Returns which scores dropout keeps; the place of a score is its head, row and distance from the sentence's first key."""
    line = (head * n_rows + rows) * 1024 - low
    return kept(first, second, (line[:, None] + keys[None, :]).to(tl.uint32), THRESHOLD)


@triton.jit
def _forward(
    Q, K, V, OUT, LOG, START, COUNT, SLOPES, SEED, n_rows, q_stride, k_stride, v_stride, scale, kept_scale,
    D: tl.constexpr, DB: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, CAUSAL: tl.constexpr,
    ALIBI: tl.constexpr, THRESHOLD: tl.constexpr, PRECISION: tl.constexpr, LONG: tl.constexpr,
):  # fmt: skip
    """Computes contexts of a tile of rows, and the base-2 logarithm of their softmax's denominator."""
    head = tl.program_id(1)
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    inside = rows < n_rows
    low, high = _span(START, COUNT, rows, inside, CAUSAL)
    first = tl.min(tl.where(high > low, low, 2147483647))
    last = tl.max(tl.where(high > low, high, 0))
    q_stride, k_stride, v_stride = far(q_stride, LONG), far(k_stride, LONG), far(v_stride, LONG)
    q = _tile(Q, q_stride, rows, inside, head, D, DB)
    slope = tl.load(SLOPES + head) * 1.4426950408889634 if ALIBI else 0.0
    if THRESHOLD > 0:
        one, two = keys_of(SEED)
    top = tl.full([BM], -1e30, tl.float32)
    total = tl.zeros([BM], tl.float32)
    context = tl.zeros([BM, DB], tl.float32)
    for start in range(first, last, BN):
        keys = start + tl.arange(0, BN)
        k = _tile(K, k_stride, keys, keys < last, head, D, DB)
        v = _tile(V, v_stride, keys, keys < last, head, D, DB)
        scores, seen = _scores(q, k, rows, keys, low, high, scale, slope, ALIBI, PRECISION)
        higher = tl.maximum(top, tl.max(scores, 1))
        p = tl.where(seen, tl.exp2(scores - higher[:, None]), 0.0)
        fade = tl.exp2(top - higher)
        total = total * fade + tl.sum(p, 1)
        if THRESHOLD > 0:
            p = tl.where(_mask(one, two, head, rows, keys, low, n_rows, THRESHOLD), p, 0.0)
        context = context * fade[:, None] + tl.dot(p.to(v.dtype), v, input_precision=PRECISION)
        top = higher
    total = tl.where(total > 0, total, 1.0)
    _put(OUT, far(tl.num_programs(1) * D, LONG), rows, inside, head, context * (kept_scale / total)[:, None], D, DB)
    tl.store(LOG + head * n_rows + rows, top + tl.log2(total), inside)


@triton.jit
def _backward_queries(
    Q, K, V, OUT, D_OUT, LOG, DELTA, D_Q, START, COUNT, SLOPES, SEED,
    n_rows, q_stride, k_stride, v_stride, d_stride, scale, kept_scale,
    D: tl.constexpr, DB: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, CAUSAL: tl.constexpr,
    ALIBI: tl.constexpr, THRESHOLD: tl.constexpr, PRECISION: tl.constexpr, LONG: tl.constexpr,
):  # fmt: skip
    """Computes the gradient of a tile of queries, and DELTA, the term common to the gradients of a row's scores."""
    head = tl.program_id(1)
    width = far(tl.num_programs(1) * D, LONG)
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    inside = rows < n_rows
    low, high = _span(START, COUNT, rows, inside, CAUSAL)
    first = tl.min(tl.where(high > low, low, 2147483647))
    last = tl.max(tl.where(high > low, high, 0))
    q_stride, k_stride, v_stride = far(q_stride, LONG), far(k_stride, LONG), far(v_stride, LONG)
    q = _tile(Q, q_stride, rows, inside, head, D, DB)
    d_out = _tile(D_OUT, width, rows, inside, head, D, DB)
    out = _tile(OUT, width, rows, inside, head, D, DB)
    delta = tl.sum(out.to(tl.float32) * d_out.to(tl.float32), 1)
    log = tl.load(LOG + head * n_rows + rows, inside, 0.0)
    tl.store(DELTA + head * n_rows + rows, delta, inside)
    slope = tl.load(SLOPES + head) * 1.4426950408889634 if ALIBI else 0.0
    if THRESHOLD > 0:
        one, two = keys_of(SEED)
    d_q = tl.zeros([BM, DB], tl.float32)
    for start in range(first, last, BN):
        keys = start + tl.arange(0, BN)
        k = _tile(K, k_stride, keys, keys < last, head, D, DB)
        v = _tile(V, v_stride, keys, keys < last, head, D, DB)
        scores, seen = _scores(q, k, rows, keys, low, high, scale, slope, ALIBI, PRECISION)
        p = tl.where(seen, tl.exp2(scores - log[:, None]), 0.0)
        d_p = tl.dot(d_out, tl.trans(v), input_precision=PRECISION) * kept_scale
        if THRESHOLD > 0:
            d_p = tl.where(_mask(one, two, head, rows, keys, low, n_rows, THRESHOLD), d_p, 0.0)
        d_scores = p * (d_p - delta[:, None])
        d_q += tl.dot(d_scores.to(k.dtype), k, input_precision=PRECISION)
    _put(D_Q, far(d_stride, LONG), rows, inside, head, d_q * (scale / 1.4426950408889634), D, DB)


@triton.jit
def _backward_keys(
    Q, K, V, D_OUT, LOG, DELTA, D_K, D_V, START, COUNT, Q_START, Q_COUNT, SLOPES, SEED,
    n_rows, n_keys, q_stride, k_stride, v_stride, d_stride, scale, kept_scale,
    D: tl.constexpr, DB: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, CAUSAL: tl.constexpr,
    ALIBI: tl.constexpr, THRESHOLD: tl.constexpr, PRECISION: tl.constexpr, LONG: tl.constexpr,
):  # fmt: skip
    """Computes gradients of a tile of keys and values, from the rows of their sentences."""
    head = tl.program_id(1)
    width = far(tl.num_programs(1) * D, LONG)
    keys = tl.program_id(0) * BN + tl.arange(0, BN)
    inside = keys < n_keys
    low = tl.load(Q_START + keys, inside, 0)
    high = low + tl.load(Q_COUNT + keys, inside, 0)
    if CAUSAL:
        low = tl.maximum(low, keys)
    first = tl.min(tl.where(high > low, low, 2147483647))
    last = tl.max(tl.where(high > low, high, 0))
    q_stride, k_stride, v_stride = far(q_stride, LONG), far(k_stride, LONG), far(v_stride, LONG)
    k = _tile(K, k_stride, keys, inside, head, D, DB)
    v = _tile(V, v_stride, keys, inside, head, D, DB)
    slope = tl.load(SLOPES + head) * 1.4426950408889634 if ALIBI else 0.0
    if THRESHOLD > 0:
        one, two = keys_of(SEED)
    d_k = tl.zeros([BN, DB], tl.float32)
    d_v = tl.zeros([BN, DB], tl.float32)
    for start in range(first, last, BM):
        rows = start + tl.arange(0, BM)
        there = rows < last
        begin, end = _span(START, COUNT, rows, there, CAUSAL)
        q = _tile(Q, q_stride, rows, there, head, D, DB)
        d_out = _tile(D_OUT, width, rows, there, head, D, DB)
        log = tl.load(LOG + head * n_rows + rows, there, 0.0)
        delta = tl.load(DELTA + head * n_rows + rows, there, 0.0)
        scores, seen = _scores(q, k, rows, keys, begin, end, scale, slope, ALIBI, PRECISION)
        p = tl.where(seen, tl.exp2(scores - log[:, None]), 0.0)
        d_p = tl.dot(d_out, tl.trans(v), input_precision=PRECISION) * kept_scale
        used = p
        if THRESHOLD > 0:
            mask = _mask(one, two, head, rows, keys, begin, n_rows, THRESHOLD)
            d_p, used = tl.where(mask, d_p, 0.0), tl.where(mask, p, 0.0)
        d_v += tl.dot(tl.trans(used.to(d_out.dtype)), d_out, input_precision=PRECISION)
        d_scores = p * (d_p - delta[:, None])
        d_k += tl.dot(tl.trans(d_scores.to(q.dtype)), q, input_precision=PRECISION)
    d_stride = far(d_stride, LONG)
    _put(D_K, d_stride, keys, inside, head, d_k * (scale / 1.4426950408889634), D, DB)
    _put(D_V, d_stride, keys, inside, head, d_v * kept_scale, D, DB)


def block_sizes(width: int, dtype: torch.dtype, of_keys: bool = False) -> dict[str, int]:
    """Returns tile sizes, warps and stages by the width of a head, so that they fit registers (`of_keys` needs most).

    Heads wider than 128 take small tiles: with them a program needs at most 66 KiB of shared memory, and small cards have 99.
    """
    wide = width > 64
    if width > 128:
        size = 16 if width > 256 or dtype == torch.float32 else 32
        return {"BM": size, "BN": size, "num_warps": 8, "num_stages": 1}
    if dtype == torch.float32:
        size = 16 if wide else 32
        return {"BM": size, "BN": size, "num_warps": 8, "num_stages": 1}
    return {"BM": 32 if wide and of_keys else 64, "BN": 64, "num_warps": 8 if wide else 4, "num_stages": 2}


def _options(
    queries: Tensor, keys: Tensor, values: Tensor, heads: int, causal: bool, dropout: float, slopes: Tensor | None
) -> dict[str, object]:
    width = queries.shape[1] // heads
    return {
        "D": width,
        "DB": max(16, triton.next_power_of_2(width)),
        "CAUSAL": causal,
        "ALIBI": slopes is not None,
        "THRESHOLD": threshold(dropout),
        "PRECISION": "ieee" if queries.dtype == torch.float32 else "tf32",
        "LONG": long(queries, keys, values),
        **block_sizes(width, queries.dtype),
    }


def _forwards(
    queries: Tensor, keys: Tensor, values: Tensor, starts: Tensor, counts: Tensor, slopes: Tensor | None,
    seed: Tensor | None, heads: int, causal: bool, dropout: float, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    options, rows = _options(queries, keys, values, heads, causal, dropout, slopes), len(queries)
    out = torch.empty((rows, queries.shape[1]), dtype=queries.dtype, device=queries.device)
    log = torch.empty((heads, rows), dtype=torch.float32, device=queries.device)
    _forward[(triton.cdiv(rows, options["BM"]), heads)](
        queries, keys, values, out, log, starts, counts, slopes, seed, rows, queries.stride(0), keys.stride(0),
        values.stride(0), scale * _LOG2_E, kept_scale(dropout), **options,
    )  # fmt: skip
    return out, log


def _backwards(
    gradient: Tensor, queries: Tensor, keys: Tensor, values: Tensor, out: Tensor, log: Tensor, starts: Tensor,
    counts: Tensor, query_starts: Tensor, query_counts: Tensor, slopes: Tensor | None, seed: Tensor | None,
    d_queries: Tensor, d_keys: Tensor, d_values: Tensor,
    heads: int, causal: bool, dropout: float, scale: float,
) -> None:  # fmt: skip
    options, rows, count = _options(queries, keys, values, heads, causal, dropout, slopes), len(queries), len(keys)
    gradient, delta = gradient.contiguous(), torch.empty_like(log)
    strides, factors = (queries.stride(0), keys.stride(0), values.stride(0)), (scale * _LOG2_E, kept_scale(dropout))
    _backward_queries[(triton.cdiv(rows, options["BM"]), heads)](
        queries, keys, values, out, gradient, log, delta, d_queries, starts, counts, slopes, seed,
        rows, *strides, d_queries.stride(0), *factors, **options,
    )  # fmt: skip
    options |= block_sizes(queries.shape[1] // heads, queries.dtype, of_keys=True)
    _backward_keys[(triton.cdiv(count, options["BN"]), heads)](
        queries, keys, values, gradient, log, delta, d_keys, d_values, starts, counts, query_starts, query_counts,
        slopes, seed, rows, count, *strides, d_keys.stride(0), *factors, **options,
    )  # fmt: skip


@torch.library.custom_op("nmt::packed_attention", mutates_args=())
def attention(
    queries: Tensor, keys: Tensor | None, values: Tensor | None, starts: Tensor, counts: Tensor, query_starts: Tensor,
    query_counts: Tensor, slopes: Tensor | None, seed: Tensor | None,
    heads: int, causal: bool, dropout: float, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Returns contexts (N, W) and logarithms (H, N), see `nmt.fast.gpu.attention`; without keys, `queries` holds all three."""
    parts = _three(queries, keys, values)
    return _forwards(*parts, starts, counts, slopes, seed, heads, causal, dropout, scale)


@attention.register_fake
def _(queries, keys, values, starts, counts, query_starts, query_counts, slopes, seed, heads, causal, dropout, scale):
    rows, width = queries.shape[0], queries.shape[1] // (3 if keys is None else 1)
    return queries.new_empty((rows, width)), queries.new_empty((heads, rows), dtype=torch.float32)


@torch.library.custom_op("nmt::packed_attention_backward", mutates_args=())
def attention_backward(
    gradient: Tensor, queries: Tensor, keys: Tensor | None, values: Tensor | None, out: Tensor, log: Tensor,
    starts: Tensor, counts: Tensor, query_starts: Tensor, query_counts: Tensor, slopes: Tensor | None,
    seed: Tensor | None, heads: int, causal: bool, dropout: float, scale: float,
) -> list[Tensor]:  # fmt: skip
    """Returns the gradients of queries, keys and values, or of all three as one tensor if they came as one."""
    gradients = _gradients(queries, keys, values)
    parts = gradients if keys is not None else gradients[0].chunk(3, 1)
    _backwards(
        gradient, *_three(queries, keys, values), out, log, starts, counts, query_starts, query_counts, slopes, seed,
        parts[0], parts[1], parts[2], heads, causal, dropout, scale,
    )  # fmt: skip
    return gradients


@attention_backward.register_fake
def _(
    gradient, queries, keys, values, out, log, starts, counts, query_starts, query_counts, slopes, seed,
    heads, causal, dropout, scale,
):  # fmt: skip
    return _gradients(queries, keys, values)


def _three(queries: Tensor, keys: Tensor | None, values: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Returns queries, keys and values, each with contiguous rows."""
    parts = queries.chunk(3, 1) if keys is None or values is None else (queries, keys, values)
    one, two, three = (part if part.stride(1) == 1 else part.contiguous() for part in parts)
    return one, two, three


def _gradients(queries: Tensor, keys: Tensor | None, values: Tensor | None) -> list[Tensor]:
    """Allocates the gradients."""
    wanted = [part for part in (queries, keys, values) if part is not None]
    return [part.new_empty(part.shape) for part in wanted]


def _setup(ctx, inputs, output):
    tensors, ctx.options = inputs[:9], inputs[9:]
    ctx.save_for_backward(*tensors, *output)
    ctx.set_materialize_grads(False)


def _autograd(ctx, gradient, _log):
    *tensors, out, log = ctx.saved_tensors
    found = torch.ops.nmt.packed_attention_backward(gradient, *tensors[:3], out, log, *tensors[3:], *ctx.options)
    return *found, *[None] * (13 - len(found))


attention.register_autograd(_autograd, setup_context=_setup)
