"""Attention of the rows of a search to their past and to their sources, both of which stay in place.

The past of a row is in the caches of several rows of its slot; a table, the ancestry, tells which. The kernel reads the table,
so that keys and values are neither moved nor gathered.
"""

# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# Functions under @triton.jit are in Triton's language, whose tensors have no types.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# N slots, R = N * beam rows, T longest translation, D width, H heads, K width of a head


@triton.jit
def _turned(POINTER, columns, inside, COSINE, SINE, angles, K: tl.constexpr, TURNS: tl.constexpr):
    """Loads a vector of one head; with TURNS its pairs (i, i + K / 2) are rotated (Su et al. 2021)."""
    vector = tl.load(POINTER + columns, inside, 0.0).to(tl.float32)
    if TURNS:
        half: tl.constexpr = K // 2
        cosine = tl.load(COSINE + angles + columns % half, inside, 0.0).to(tl.float32)
        sine = tl.load(SINE + angles + columns % half, inside, 0.0).to(tl.float32)
        other = tl.load(POINTER + (columns + half) % K, inside, 0.0).to(tl.float32)
        vector = vector * cosine + tl.where(columns < half, -other, other) * sine
    return vector


@triton.jit
def _past(
    NEW, KEYS, VALUES, ANCESTRY, POSITIONS, COSINE, SINE, SLOPES, OUT, beam, longest, scale,
    K: tl.constexpr, KB: tl.constexpr, TB: tl.constexpr, TURNS: tl.constexpr, ALIBI: tl.constexpr,
):  # fmt: skip
    """Processes one head of one row: stores its key and value, and attends to its ancestors and itself."""
    row, head = tl.program_id(0), tl.program_id(1)
    width = tl.num_programs(1) * K
    slot = row // beam
    now = tl.load(POSITIONS + slot).to(tl.int32)
    columns = tl.arange(0, KB)
    inside = columns < K
    new = NEW + row * 3 * width + head * K
    angles = now * (K // 2)
    query = _turned(new, columns, inside, COSINE, SINE, angles, K, TURNS) * scale
    key = _turned(new + width, columns, inside, COSINE, SINE, angles, K, TURNS).to(KEYS.dtype.element_ty)
    value = tl.load(new + 2 * width + columns, inside, 0.0)
    here = (row.to(tl.int64) * longest + now) * width + head * K + columns
    tl.store(KEYS + here, key, inside)
    tl.store(VALUES + here, value, inside)
    slope = tl.load(SLOPES + head).to(tl.float32) if ALIBI else 0.0
    top = tl.sum(query * key.to(tl.float32), 0)
    total = tl.full([1], 1.0, tl.float32)
    context = value.to(tl.float32)
    for start in range(0, now, TB):
        times = start + tl.arange(0, TB)
        past = times < now
        owner = slot * beam + tl.load(ANCESTRY + row.to(tl.int64) * longest + times, past, 0)
        lines = (owner.to(tl.int64) * longest + times) * width + head * K
        mask = past[:, None] & inside[None, :]
        keys = tl.load(KEYS + lines[:, None] + columns[None, :], mask, 0.0).to(tl.float32)
        values = tl.load(VALUES + lines[:, None] + columns[None, :], mask, 0.0).to(tl.float32)
        scores = tl.sum(keys * query[None, :], 1)
        if ALIBI:
            scores -= slope * (now - times).to(tl.float32)
        scores = tl.where(past, scores, -1e30)
        higher = tl.maximum(top, tl.max(scores, 0))
        weights = tl.where(past, tl.exp(scores - higher), 0.0)
        fade = tl.exp(top - higher)
        context = context * fade + tl.sum(weights[:, None] * values, 0)
        total = total * fade + tl.sum(weights, 0)
        top = higher
    tl.store(OUT + row * width + head * K + columns, (context / total).to(OUT.dtype.element_ty), inside)


@triton.jit
def _source(
    QUERIES, SOURCES, OWNERS, OFFSETS, LENGTHS, OUT, beam, scale,
    K: tl.constexpr, KB: tl.constexpr, BB: tl.constexpr, SB: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Processes one head of all rows of a slot, against the keys and values of its sentence, which are adjacent rows."""
    slot, head = tl.program_id(0), tl.program_id(1)
    width = tl.num_programs(1) * K
    owner = tl.load(OWNERS + slot)
    offset = tl.load(OFFSETS + owner).to(tl.int64)
    length = tl.load(LENGTHS + owner).to(tl.int32)
    columns = tl.arange(0, KB)
    inside = columns < K
    hypotheses = tl.arange(0, BB)
    mine = (hypotheses < beam)[:, None] & inside[None, :]
    places = (slot * beam + hypotheses)[:, None] * width + head * K + columns[None, :]
    queries = tl.load(QUERIES + places, mine, 0.0)
    top = tl.full([BB], -1e30, tl.float32)
    total = tl.zeros([BB], tl.float32)
    context = tl.zeros([BB, KB], tl.float32)
    for start in range(0, length, SB):
        positions = start + tl.arange(0, SB)
        real = positions < length
        lines = SOURCES + (offset + positions)[:, None] * (2 * width) + head * K + columns[None, :]
        mask = real[:, None] & inside[None, :]
        keys = tl.load(lines, mask, 0.0)
        values = tl.load(lines + width, mask, 0.0)
        scores = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
        scores = tl.where(real[None, :], scores, -1e30)
        higher = tl.maximum(top, tl.max(scores, 1))
        weights = tl.where(real[None, :], tl.exp(scores - higher[:, None]), 0.0)
        fade = tl.exp(top - higher)
        total = total * fade + tl.sum(weights, 1)
        context = context * fade[:, None] + tl.dot(weights.to(values.dtype), values, input_precision=PRECISION)
        top = higher
    context = context / tl.where(total > 0, total, 1.0)[:, None]
    tl.store(OUT + places, context.to(OUT.dtype.element_ty), mine)


@torch.library.custom_op("nmt::past_attention", mutates_args=("keys", "values"))
def past_attention(
    projected: Tensor, keys: Tensor, values: Tensor, ancestry: Tensor, positions: Tensor, heads: int, scale: float,
    cosine: Tensor | None = None, sine: Tensor | None = None, slopes: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Returns the attention of each row to its past and itself: (R, D), fp32 or bf16.

    Args:
        projected: (R, 3 * D) queries, keys and values of each row at its new position.
        keys: (R, T, D) of each row and position; the new position is written.
        values: shaped as the keys; the new position is written.
        ancestry: (R, T) of any integer type: the row of the slot that computed each past position.
        positions: (N,) position of each slot, below T.
        heads: number of heads, H.
        scale: factor of the products of queries and keys.
        cosine: (T, K / 2) cosines of the rotary angles.
        sine: (T, K / 2) sines of the rotary angles.
        slopes: (H,) the cost of one position of distance with ALiBi.
    """
    rows, longest, width = keys.shape
    size = width // heads
    out = projected.new_empty((rows, width))
    _past[(rows, heads)](
        projected, keys, values, ancestry, positions, cosine, sine, slopes, out, rows // len(positions), longest, scale,
        K=size, KB=triton.next_power_of_2(size), TB=16, TURNS=cosine is not None, ALIBI=slopes is not None, num_warps=1,
    )  # fmt: skip
    return out


@past_attention.register_fake
def _(projected, keys, values, ancestry, positions, heads, scale, cosine=None, sine=None, slopes=None):
    return projected.new_empty((len(projected), keys.shape[2]))


@torch.library.custom_op("nmt::source_attention", mutates_args=())
def source_attention(
    queries: Tensor, sources: Tensor, owners: Tensor, offsets: Tensor, lengths: Tensor, heads: int, scale: float
) -> Tensor:
    """Returns the attention of each row to the source of its slot: (R, D), fp32 or bf16.

    Args:
        queries: (R, D)
        sources: (tokens, 2 * D) keys and values of all sources, end to end.
        owners: (N,) the sentence of each slot.
        offsets: (sentences,) where each source begins.
        lengths: (sentences,) source lengths, at least 1.
        heads: number of heads, H.
        scale: factor of the products of queries and keys.
    """
    rows, width = queries.shape
    beam, size, exact = rows // len(owners), width // heads, queries.dtype == torch.float32
    out = torch.empty_like(queries)
    _source[(len(owners), heads)](
        queries, sources, owners, offsets, lengths, out, beam, scale,
        K=size, KB=max(16, triton.next_power_of_2(size)), BB=max(16, triton.next_power_of_2(beam)),
        SB=16 if exact else 32, PRECISION="ieee" if exact else "tf32", num_warps=2,
    )  # fmt: skip
    return out


@source_attention.register_fake
def _(queries, sources, owners, offsets, lengths, heads, scale):
    return queries.new_empty(queries.shape)
