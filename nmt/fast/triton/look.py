"""Attention of a recurrent decoder from one position: scores, their softmax and the context; forward and backward.

One program processes a row, and keeps intermediate values in the rows of its results.
"""

# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# Functions under @triton.jit are in Triton's language, whose tensors have no types.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from nmt.fast.triton.cells import tanh

# R rows, B sentences, S source positions, T target positions, A width of queries and keys, C width of values

_BLOCKS = {"SB": 32, "AB": 128, "CB": 128, "num_warps": 8}


@triton.jit
def _look(
    QUERIES, KEYS, VECTOR, VALUES, LENGTHS, WEIGHTS, CONTEXTS, beam, longest, query_stride, width, depth, scale,
    ADDITIVE: tl.constexpr, SB: tl.constexpr, AB: tl.constexpr, CB: tl.constexpr,
):  # fmt: skip
    """Computes the weights of one row over its source, and their context. WEIGHTS hold the scores in between."""
    row = tl.program_id(0)
    sentence = row // beam
    length = tl.load(LENGTHS + sentence).to(tl.int32)
    first = sentence.to(tl.int64) * longest
    top = -1e30
    for start in range(0, longest, SB):
        places = start + tl.arange(0, SB)
        real = places < length
        scores = tl.zeros([SB], tl.float32)
        for begin in range(0, width, AB):
            columns = begin + tl.arange(0, AB)
            query = tl.load(QUERIES + row * query_stride + columns, columns < width, 0.0).to(tl.float32)
            mask = real[:, None] & (columns < width)[None, :]
            keys = tl.load(KEYS + (first + places)[:, None] * width + columns[None, :], mask, 0.0).to(tl.float32)
            if ADDITIVE:
                vector = tl.load(VECTOR + columns, columns < width, 0.0).to(tl.float32)
                scores += tl.sum(tanh(query[None, :] + keys) * vector[None, :], 1)
            else:
                scores += tl.sum(query[None, :] * keys, 1) * scale
        scores = tl.where(real, scores, -1e30)
        top = tl.maximum(top, tl.max(scores, 0))
        tl.store(WEIGHTS + row * longest + places, scores, places < longest)
    tl.debug_barrier()
    total = 0.0
    for start in range(0, longest, SB):
        places = start + tl.arange(0, SB)
        scores = tl.load(WEIGHTS + row * longest + places, places < longest, -1e30)
        total += tl.sum(tl.where(places < length, tl.exp(scores - top), 0.0), 0)
    total = tl.where(total > 0, total, 1.0)
    for begin in range(0, depth, CB):
        columns = begin + tl.arange(0, CB)
        context = tl.zeros([CB], tl.float32)
        for start in range(0, longest, SB):
            places = start + tl.arange(0, SB)
            real = places < length
            scores = tl.load(WEIGHTS + row * longest + places, real, -1e30)
            weights = tl.where(real, tl.exp(scores - top) / total, 0.0)
            mask = real[:, None] & (columns < depth)[None, :]
            values = tl.load(VALUES + (first + places)[:, None] * depth + columns[None, :], mask, 0.0).to(tl.float32)
            context += tl.sum(weights[:, None] * values, 0)
        tl.store(CONTEXTS + row * depth + columns, context.to(CONTEXTS.dtype.element_ty), columns < depth)
    tl.debug_barrier()
    for start in range(0, longest, SB):
        places = start + tl.arange(0, SB)
        scores = tl.load(WEIGHTS + row * longest + places, places < longest, -1e30)
        weights = tl.where(places < length, tl.exp(scores - top) / total, 0.0)
        tl.store(WEIGHTS + row * longest + places, weights, places < longest)


@triton.jit
def _look_backward(
    QUERIES, KEYS, VECTOR, VALUES, LENGTHS, WEIGHTS, D_CONTEXTS, D_SCORES, D_QUERIES,
    beam, longest, query_stride, d_query_stride, width, depth, scale,
    ADDITIVE: tl.constexpr, SB: tl.constexpr, AB: tl.constexpr, CB: tl.constexpr,
):  # fmt: skip
    """Computes gradients of one row's scores and query. D_SCORES hold the gradient of the weights in between."""
    row = tl.program_id(0)
    sentence = row // beam
    length = tl.load(LENGTHS + sentence).to(tl.int32)
    first = sentence.to(tl.int64) * longest
    common = 0.0
    for start in range(0, longest, SB):
        places = start + tl.arange(0, SB)
        real = places < length
        d_weights = tl.zeros([SB], tl.float32)
        for begin in range(0, depth, CB):
            columns = begin + tl.arange(0, CB)
            gradient = tl.load(D_CONTEXTS + row * depth + columns, columns < depth, 0.0).to(tl.float32)
            mask = real[:, None] & (columns < depth)[None, :]
            values = tl.load(VALUES + (first + places)[:, None] * depth + columns[None, :], mask, 0.0).to(tl.float32)
            d_weights += tl.sum(values * gradient[None, :], 1)
        common += tl.sum(d_weights * tl.load(WEIGHTS + row * longest + places, real, 0.0), 0)
        tl.store(D_SCORES + row * longest + places, d_weights, places < longest)
    tl.debug_barrier()
    for begin in range(0, width, AB):
        columns = begin + tl.arange(0, AB)
        d_query = tl.zeros([AB], tl.float32)
        query = tl.load(QUERIES + row * query_stride + columns, columns < width, 0.0).to(tl.float32)
        for start in range(0, longest, SB):
            places = start + tl.arange(0, SB)
            real = places < length
            d_scores = tl.load(D_SCORES + row * longest + places, real, 0.0) - common
            d_scores *= tl.load(WEIGHTS + row * longest + places, real, 0.0)
            mask = real[:, None] & (columns < width)[None, :]
            keys = tl.load(KEYS + (first + places)[:, None] * width + columns[None, :], mask, 0.0).to(tl.float32)
            if ADDITIVE:
                bent = tanh(query[None, :] + keys)
                d_query += tl.sum(d_scores[:, None] * (1.0 - bent * bent), 0)
            else:
                d_query += tl.sum(d_scores[:, None] * keys, 0) * scale
        if ADDITIVE:
            d_query *= tl.load(VECTOR + columns, columns < width, 0.0).to(tl.float32)
        tl.store(D_QUERIES + row * d_query_stride + columns, d_query.to(D_QUERIES.dtype.element_ty), columns < width)
    tl.debug_barrier()
    for start in range(0, longest, SB):
        places = start + tl.arange(0, SB)
        d_scores = tl.load(D_SCORES + row * longest + places, places < length, 0.0) - common
        d_scores *= tl.load(WEIGHTS + row * longest + places, places < length, 0.0)
        tl.store(D_SCORES + row * longest + places, d_scores, places < longest)


@triton.jit
def _additive_keys(
    QUERIES, KEYS, VECTOR, D_SCORES, D_KEYS, D_VECTOR, times, sentences, longest, query_stride, width,
    SB: tl.constexpr, AB: tl.constexpr,
):  # fmt: skip
    """Computes gradients of a block of keys of one sentence, and its share of the vector's, from all target positions."""
    sentence = tl.program_id(0)
    places = tl.program_id(1) * SB + tl.arange(0, SB)
    columns = tl.program_id(2) * AB + tl.arange(0, AB)
    across = columns < width
    mask = (places < longest)[:, None] & across[None, :]
    lines = (sentence.to(tl.int64) * longest + places)[:, None] * width + columns[None, :]
    keys = tl.load(KEYS + lines, mask, 0.0).to(tl.float32)
    vector = tl.load(VECTOR + columns, across, 0.0).to(tl.float32)
    d_keys = tl.zeros([SB, AB], tl.float32)
    d_vector = tl.zeros([SB, AB], tl.float32)
    for time in range(times):
        row = time * sentences + sentence
        query = tl.load(QUERIES + row.to(tl.int64) * query_stride + columns, across, 0.0).to(tl.float32)
        d_scores = tl.load(D_SCORES + row.to(tl.int64) * longest + places, places < longest, 0.0)[:, None]
        bent = tanh(query[None, :] + keys)
        d_keys += d_scores * (1.0 - bent * bent)
        d_vector += d_scores * bent
    tl.store(D_KEYS + lines, (d_keys * vector[None, :]).to(D_KEYS.dtype.element_ty), mask)
    share = sentence * tl.num_programs(1) + tl.program_id(1)
    tl.store(D_VECTOR + share * width + columns, tl.sum(d_vector, 0), across)


def look(
    queries: Tensor, keys: Tensor, vector: Tensor | None, values: Tensor, lengths: Tensor, weights: Tensor,
    contexts: Tensor, scale: float = 1.0,
) -> None:  # fmt: skip
    """Fills weights (R, S) and contexts (R, C) of queries (R, A), whose rows may be strided.

    Args:
        queries: W s of the rows, a beam of them per sentence.
        keys: (B, S, A)
        vector: (A,) of the additive score v . tanh(query + key) (Bahdanau et al. 2015); None: the score is query . key.
        values: (B, S, C)
        lengths: (B,) number of real positions, of any integer type.
        weights: fp32, contiguous.
        contexts: contiguous.
        scale: factor of the product query . key.
    """
    rows, longest = weights.shape
    _look[(rows,)](
        queries, keys, vector, values, lengths, weights, contexts, rows // len(keys), longest, queries.stride(0),
        keys.shape[2], values.shape[2], scale, ADDITIVE=vector is not None, **_BLOCKS,
    )  # fmt: skip


def look_backward(
    queries: Tensor, keys: Tensor, vector: Tensor | None, values: Tensor, lengths: Tensor, weights: Tensor,
    d_contexts: Tensor, d_scores: Tensor, d_queries: Tensor, scale: float = 1.0,
) -> None:  # fmt: skip
    """Fills the gradients of scores (R, S), fp32, and of queries (R, A), from those of contexts (R, C); see `look`."""
    rows, longest = weights.shape
    _look_backward[(rows,)](
        queries, keys, vector, values, lengths, weights, d_contexts, d_scores, d_queries, rows // len(keys), longest,
        queries.stride(0), d_queries.stride(0), keys.shape[2], values.shape[2], scale,
        ADDITIVE=vector is not None, **_BLOCKS,
    )  # fmt: skip


def additive_keys(queries: Tensor, keys: Tensor, vector: Tensor, d_scores: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of keys (B, S, A) and of the vector (A,) of additive scores, from all T positions at once.

    Args:
        queries: (T, B, A), whose rows may be strided.
        keys: (B, S, A)
        vector: (A,)
        d_scores: (T, B, S) from `look_backward`.
    """
    times, sentences, longest = d_scores.shape
    width, size, block = keys.shape[2], 16, 64
    places = triton.cdiv(longest, size)
    d_keys, d_vector = torch.empty_like(keys), vector.new_empty((sentences * places, width), dtype=torch.float32)
    _additive_keys[(sentences, places, triton.cdiv(width, block))](
        queries, keys, vector, d_scores, d_keys, d_vector, times, sentences, longest, queries.stride(1), width,
        SB=size, AB=block, num_warps=4,
    )  # fmt: skip
    return d_keys, d_vector.sum(0).to(vector.dtype)
