"""Groups sentences into batches for search."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from nmt.corpus.encoded import Ragged
from nmt.corpus.tokenizer import PAD


def search_batches(lengths: list[int], tokens: int, beam: int, size: int | None = None) -> list[list[int]]:
    """Returns batches of sentence indices, longest first, of at most `tokens` padded source tokens times beam.

    `size` gives the number of sentences per batch instead of the token budget.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        count = size or max(1, tokens // max(1, lengths[order[start]] * beam))
        batches.append(order[start : start + count])
        start += count
    return batches


def padded(ids: list[list[int]], before: int, after: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns token ids (B, S) and lengths (B,), with `before` and `after` added to each sentence unless negative."""
    counts = [len(tokens) for tokens in ids]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    values = np.fromiter(itertools.chain.from_iterable(ids), dtype=np.uint32, count=int(offsets[-1]))
    ragged = Ragged(values, offsets)
    extra = int(before >= 0) + int(after >= 0)
    matrix = ragged.padded(np.arange(len(ids)), max(counts) + extra, before, after, PAD)
    return torch.from_numpy(matrix), torch.from_numpy(ragged.lengths + extra)
