"""A step of a recurrent decoder on a GPU, except its products: attention to the source, and the recurrent unit."""

# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# Functions under @triton.jit are in Triton's language, whose tensors have no types.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from nmt.fast.triton.cells import gru, lstm, tanh

# N slots, R = N * beam rows, A width of queries and keys, C width of values, H hidden, G gates


@triton.jit
def _look(
    QUERIES, KEYS, VECTOR, VALUES, OWNERS, OFFSETS, LENGTHS, CONTEXTS, beam, stride, width, depth, scale,
    ADDITIVE: tl.constexpr, SB: tl.constexpr, AB: tl.constexpr, CB: tl.constexpr,
):  # fmt: skip
    """Computes scores of one row over its source, their softmax and the context, in one pass."""
    row = tl.program_id(0).to(tl.int64)
    owner = tl.load(OWNERS + row // beam)
    offset, length = tl.load(OFFSETS + owner), tl.load(LENGTHS + owner).to(tl.int32)
    deep = tl.arange(0, CB)
    top, total = -1e30, 0.0
    context = tl.zeros([CB], tl.float32)
    for start in range(0, length, SB):
        places = start + tl.arange(0, SB)
        real = places < length
        lines = offset + places
        scores = tl.zeros([SB], tl.float32)
        for begin in range(0, width, AB):
            columns = begin + tl.arange(0, AB)
            query = tl.load(QUERIES + row * stride + columns, columns < width, 0.0).to(tl.float32)
            mask = real[:, None] & (columns < width)[None, :]
            keys = tl.load(KEYS + lines[:, None] * width + columns[None, :], mask, 0.0).to(tl.float32)
            if ADDITIVE:
                vector = tl.load(VECTOR + columns, columns < width, 0.0).to(tl.float32)
                scores += tl.sum(tanh(query[None, :] + keys) * vector[None, :], 1)
            else:
                scores += tl.sum(query[None, :] * keys, 1) * scale
        scores = tl.where(real, scores, -1e30)
        higher = tl.maximum(top, tl.max(scores, 0))
        weights = tl.where(real, tl.exp(scores - higher), 0.0)
        fade = tl.exp(top - higher)
        mask = real[:, None] & (deep < depth)[None, :]
        values = tl.load(VALUES + lines[:, None] * depth + deep[None, :], mask, 0.0).to(tl.float32)
        context = context * fade + tl.sum(weights[:, None] * values, 0)
        total = total * fade + tl.sum(weights, 0)
        top = higher
    tl.store(CONTEXTS + row * depth + deep, (context / total).to(CONTEXTS.dtype.element_ty), deep < depth)


@torch.library.custom_op("nmt::look_at_source", mutates_args=())
def look_at_source(
    queries: Tensor, keys: Tensor, vector: Tensor | None, values: Tensor, owners: Tensor, offsets: Tensor,
    lengths: Tensor, scale: float,
) -> Tensor:  # fmt: skip
    """Returns contexts (R, C) of queries (R, A), whose rows may be strided.

    Args:
        queries: a beam of rows per slot.
        keys: (tokens, A) of all sources, end to end.
        vector: (A,) of the additive score; None: a score is the product of query and key.
        values: (tokens, C)
        owners: (N,) the sentence of each slot.
        offsets: (sentences,) where each source begins.
        lengths: (sentences,) source lengths, at least 1.
        scale: factor of that product.
    """
    rows, depth = len(queries), values.shape[1]
    contexts = values.new_empty((rows, depth))
    _look[(rows,)](
        queries, keys, vector, values, owners, offsets, lengths, contexts, rows // len(owners), queries.stride(0),
        keys.shape[1], depth, scale, ADDITIVE=vector is not None, SB=8, AB=64,
        CB=triton.next_power_of_2(depth), num_warps=4 if depth <= 1024 else 8,
    )  # fmt: skip
    return contexts


@look_at_source.register_fake
def _(queries, keys, vector, values, owners, offsets, lengths, scale):
    return values.new_empty((len(queries), values.shape[1]))


@torch.library.custom_op("nmt::recurrent_unit", mutates_args=("hidden", "cell"))
def recurrent_unit(
    gates: Tensor, recurrent: Tensor, old: Tensor, old_cell: Tensor | None, hidden: Tensor, cell: Tensor | None
) -> None:
    """One step of a GRU, or with a cell of an LSTM, from its products; see `nmt.models.rnn.decoder.AttentionDecoder`.

    Args:
        gates: (R, G * H) of inputs and context.
        recurrent: (R, G * H) of the old state, whose rows may lie in those of a larger tensor.
        old: (R, H)
        old_cell: (R, H)
        hidden: (R, H), written.
        cell: (R, H), written.
    """
    kept = gates.new_empty((len(gates), 4 * hidden.shape[1]))  # for a backward pass, which does not exist here
    if cell is None or old_cell is None:
        gru(gates, recurrent, old, hidden, kept)
    else:
        lstm(gates, recurrent, old_cell, hidden, cell, kept)


@recurrent_unit.register_fake
def _(gates, recurrent, old, old_cell, hidden, cell):
    return None
