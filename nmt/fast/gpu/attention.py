"""Attention between packed rows: tokens of many sentences end to end, perhaps with empty rows between or behind them."""

from __future__ import annotations

import torch
from torch import Tensor

from nmt.fast.gpu.dropout import kept, scale
from nmt.fast.triton import usable

# N rows of queries, M rows of keys and values, W = H * K width, H heads, K width of a head, S sentences

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines of the angles of each row, each (N, K / 2)."""


def packed_attention(
    queries: Tensor,
    keys: Tensor | None,
    values: Tensor | None,
    key_starts: Tensor,
    key_counts: Tensor,
    query_starts: Tensor | None = None,
    query_counts: Tensor | None = None,
    *,
    heads: int,
    causal: bool = False,
    dropout: float = 0.0,
    seed: Tensor | None = None,
    slopes: Tensor | None = None,
    rotary: Rotation | None = None,
    scaling: float | None = None,
) -> Tensor:
    """Returns contexts (N, W) of queries (N, W) over keys and values (M, W) of their sentences; zeros for empty rows.

    Self-attention may pass queries, keys and values as one tensor (N, 3 * W), without `keys` and `values`. Then the gradient is
    one tensor too, and no kernel has to assemble it.

    Args:
        queries: fp32 or bf16 on a GPU; any floating point on CPU.
        keys: keys of the sources, or of the same rows as the queries.
        values: shaped as the keys.
        key_starts: (N,) int32, the first key row of each query's sentence.
        key_counts: (N,) int32, the number of keys of that sentence; 0 makes an empty row.
        query_starts: (M,) int32, the first query row of each key's sentence; not needed if queries and keys share rows.
        query_counts: (M,) int32, the number of queries of that sentence; 0 for empty rows.
        heads: H.
        causal: each row sees the rows of its sentence up to itself (queries and keys share rows).
        dropout: dropout of the weights.
        seed: one int64 that seeds the dropout.
        slopes: (H,) fp32; subtracted from a score for each position of distance (Press et al. 2022, ALiBi).
        rotary: from `rotation`, for queries and keys that share rows (Su et al. 2021).
        scaling: factor of the scores, instead of 1 / sqrt(K).
    """
    if rotary is not None:
        queries, keys, values = _rotated(queries, keys, values, heads, rotary)
    if query_starts is None or query_counts is None:
        query_starts, query_counts = key_starts, key_counts
    width = queries.shape[1] // (3 if keys is None else 1) // heads
    factor = width**-0.5 if scaling is None else scaling
    rows = key_starts, key_counts, query_starts, query_counts
    if usable(queries):
        from nmt.fast.triton.attention import attention

        contexts: Tensor = attention(
            queries, keys, values, *rows, slopes, seed, heads, causal, dropout if seed is not None else 0.0, factor
        )[0]
        return contexts
    return plain_attention(queries, keys, values, *rows, heads, causal, dropout, seed, slopes, factor)


def rotation(positions: Tensor, width: int, dtype: torch.dtype) -> Rotation:
    """Returns the angles p / 10000^(2i/K) of positions (N,) for heads of width K; see `positions.Rotary` of the Transformer."""
    rates = 10000 ** (-torch.arange(0, width, 2, dtype=torch.float64, device=positions.device) / width)
    angles = positions[:, None] * rates
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _rotated(
    queries: Tensor, keys: Tensor | None, values: Tensor | None, heads: int, rotary: Rotation
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Rotates queries and keys."""
    cosine, sine = (part[:, None, None] for part in rotary)  # (N, 1, 1, K / 2)
    states = queries if keys is None else torch.cat([queries, keys], 1)
    split = states.unflatten(1, (-1, heads, 2, cosine.shape[-1]))  # (N, parts, H, 2, K / 2)
    left, right = split[:, :2].unbind(3)
    turned = torch.stack([left * cosine - right * sine, right * cosine + left * sine], 3)
    if keys is None:
        return torch.cat([turned.flatten(1), queries[:, states.shape[1] * 2 // 3 :]], 1), None, None
    one, two = turned.flatten(2).unbind(1)
    return one, two, values


def plain_attention(
    queries: Tensor,
    keys: Tensor | None,
    values: Tensor | None,
    key_starts: Tensor,
    key_counts: Tensor,
    query_starts: Tensor,
    query_counts: Tensor,
    heads: int,
    causal: bool,
    dropout: float,
    seed: Tensor | None,
    slopes: Tensor | None,
    scaling: float,
) -> Tensor:
    """Computes `packed_attention` by torch's operations on padded sentences; waits for the device to learn the lengths."""
    if keys is None or values is None:
        queries, keys, values = queries.chunk(3, 1)
    heads_of = (heads, queries.shape[1] // heads)
    starts, counts, begins, ends = _sentences(key_starts, key_counts, query_starts, query_counts)
    rows, real = _padded(begins, ends)  # (S, T)
    columns, there = _padded(starts, counts)  # (S, L)
    query = queries[rows].unflatten(2, heads_of).transpose(1, 2)  # (S, H, T, K)
    key, value = (part[columns].unflatten(2, heads_of).transpose(1, 2) for part in (keys, values))
    scores = (query @ key.transpose(2, 3)) * scaling  # (S, H, T, L)
    if slopes is not None:
        distance = (rows[:, None, :, None] - columns[:, None, None]).abs()
        scores = scores - slopes[:, None, None].to(scores.dtype) * distance
    seen = there[:, None, None]
    if causal:
        seen = seen & (columns[:, None, None] <= rows[:, None, :, None])
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    if seed is not None and dropout > 0:
        line = torch.arange(heads, device=rows.device)[:, None, None] * len(queries) + rows[:, None, :, None]
        places = line * 1024 + torch.arange(columns.shape[1], device=rows.device)
        weights = weights * kept(seed, places, dropout) * scale(dropout)
    contexts = (weights @ value).transpose(1, 2).flatten(2)  # (S, T, W)
    return torch.zeros_like(queries).index_put((rows[real],), contexts[real])


def _sentences(key_starts: Tensor, key_counts: Tensor, query_starts: Tensor, query_counts: Tensor) -> list[Tensor]:
    """Returns first key, number of keys, first query and number of queries of each sentence that has both, each (S,)."""
    held = key_counts > 0
    begins = query_starts[key_starts.long().clamp(max=len(query_starts) - 1)]  # (N,)
    places = torch.arange(len(key_starts), device=key_starts.device)
    rows = (held & (places == begins)).nonzero().squeeze(1)
    counts = query_counts[key_starts[rows].long()]
    return [key_starts[rows].long(), key_counts[rows].long(), rows, counts.long()]


def _padded(starts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Returns rows (S, longest) of sentences, and which are real; the others repeat the sentence's first row."""
    places = torch.arange(int(counts.max()) if len(counts) else 1, device=starts.device)
    real = places < counts[:, None]
    return torch.where(real, starts[:, None] + places, starts[:, None]), real
