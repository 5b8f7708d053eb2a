"""Attention of the hypotheses of `Beams` to their past and to their sources, both of which stay in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.decoding.device.beams import Beams
from nmt.decoding.device.sources import padded_places, taken
from nmt.fast.triton import usable

# N slots, beam, R = N * beam rows, T longest translation, S longest source, D width, H heads, K width of a head


@dataclass(frozen=True)
class Turns:
    """Cosines and sines of the angles of rotary positions, each (T, K / 2); see `nmt.models.transformer.positions.Rotary`."""

    cosine: Tensor
    sine: Tensor

    @classmethod
    def of(cls, count: int, width: int, like: Tensor) -> Turns:
        """Makes the tables for `count` positions and heads of width `width`."""
        rates = 10000 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        angles = torch.arange(count, dtype=torch.float64)[:, None] * rates
        return cls(angles.cos().to(like), angles.sin().to(like))

    def turned(self, states: Tensor, positions: Tensor) -> Tensor:
        """Rotates states (R, H, K) by the given positions (R,)."""
        cosine, sine = (part.index_select(0, positions)[:, None] for part in (self.cosine, self.sine))
        left, right = states.chunk(2, -1)
        return torch.cat([left * cosine - right * sine, right * cosine + left * sine], -1)


def attend_past(
    projected: Tensor,
    keys: Tensor,
    values: Tensor,
    beams: Beams,
    heads: int,
    scale: float,
    turns: Turns | None = None,
    slopes: Tensor | None = None,
) -> Tensor:
    """Returns the attention of each row to its past and itself: (R, D).

    Args:
        projected: (R, 3 * D) queries, keys and values of each row at its new position.
        keys: (R, T, D) of each row and position; the new position is written.
        values: shaped as the keys; the new position is written.
        beams: its ancestry says which row computed each past position.
        heads: number of heads that D is divided into.
        scale: factor of the products of queries and keys.
        turns: rotary positions; None: queries and keys are not rotated.
        slopes: (H,) the cost of one position of distance with ALiBi.
    """
    if usable(projected):
        from nmt.fast.triton.ancestry import past_attention

        angles = (None, None) if turns is None else (turns.cosine, turns.sine)
        table = (beams.ancestry, beams.positions)
        seen: Tensor = past_attention(projected, keys, values, *table, heads, scale, *angles, slopes)
        return seen
    beam = beams.room.beam
    rows, longest = keys.shape[:2]
    at = beams.positions.repeat_interleave(beam, output_size=rows)  # (R,)
    query, key, value = (part.unflatten(1, (heads, -1)) for part in projected.chunk(3, 1))  # (R, H, K)
    if turns is not None:
        query, key = turns.turned(query, at), turns.turned(key, at)
    numbers = torch.arange(rows, device=keys.device)
    for store, new in ((keys, key), (values, value)):
        store.view(-1, store.shape[2]).index_copy_(0, numbers * longest + at, new.flatten(1))
    first = torch.div(numbers, beam, rounding_mode="floor")[:, None] * beam
    places = (first + beams.ancestry) * longest + beams.places  # (R, T), of R * T
    every_key, every_value = (taken(part.flatten(0, 1), places).unflatten(2, (heads, -1)) for part in (keys, values))
    scores = torch.einsum("rhk,rthk->rht", query * scale, every_key)
    if slopes is not None:
        scores = scores - slopes[:, None] * (at[:, None] - beams.places).abs()[:, None]
    weights = scores.masked_fill((beams.places > at[:, None])[:, None], -torch.inf).softmax(-1)
    return torch.einsum("rht,rthk->rhk", weights, every_value).flatten(1)


def attend_source(query: Tensor, sources: Tensor, beams: Beams, heads: int, scale: float) -> Tensor:
    """Returns the attention of each row to the source of its slot: (R, D).

    Args:
        query: (R, D)
        sources: (tokens, 2 * D) keys and values of all sources of the queue.
        beams: its owners map slots to sources.
        heads: number of heads that D is divided into.
        scale: factor of the products of queries and keys.
    """
    if usable(query):
        from nmt.fast.triton.ancestry import source_attention

        table = (beams.owners, beams.queue.offsets, beams.queue.lengths)
        seen: Tensor = source_attention(query, sources, *table, heads, scale)
        return seen
    places, real = padded_places(beams)
    key, value = taken(sources, places).unflatten(2, (2, heads, -1)).unbind(2)  # (N, S, H, K)
    rows = query.unflatten(1, (heads, -1)).unflatten(0, (-1, beams.room.beam))  # (N, beam, H, K)
    scores = torch.einsum("nbhk,nshk->nhbs", rows * scale, key)
    weights = scores.masked_fill(~real[:, None, None], -torch.inf).softmax(-1)
    return torch.einsum("nhbs,nshk->nbhk", weights, value).flatten(2).flatten(0, 1)
