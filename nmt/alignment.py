"""From attention over subwords to links between words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# T target tokens, S source tokens

_WORD_START = "\u2581"


def word_numbers(pieces: Sequence[str]) -> list[int]:
    """The word that each piece belongs to, from 0; a piece that starts with the word mark begins a new one."""
    numbers: list[int] = []
    for piece in pieces:
        begins = piece.startswith(_WORD_START) or not numbers
        numbers.append((numbers[-1] if numbers else -1) + begins)
    return numbers


def align_words(weights: Tensor, source: Sequence[int], target: Sequence[int]) -> list[tuple[int, int]]:
    """Links (source word, target word), one for each target word: to the source word that got most of its attention.

    Attention to a word is the sum over its pieces; attention of a word is the sum over its pieces.

    Args:
        weights: (T, S) attention, a row per target piece; rows and columns beyond the words (the end) are left out.
        source: the word of each source piece, from `word_numbers`.
        target: the word of each target piece.
    """
    if not source or not target:
        return []
    table = torch.zeros((target[-1] + 1, source[-1] + 1), dtype=torch.float64)
    by_column = torch.zeros((len(target), source[-1] + 1), dtype=torch.float64)
    by_column.index_add_(1, torch.tensor(source), weights[: len(target), : len(source)].double().cpu())
    table.index_add_(0, torch.tensor(target), by_column)
    return [(int(best), word) for word, best in enumerate(table.argmax(1))]


def coverage(weights: Tensor, lengths: Tensor) -> Tensor:
    """sum_i log(min(sum_j a_ij, 1)) for each sentence (B,): Wu et al. 2016, equation 14.

    Args:
        weights: (B, T, S) attention, zero at padded target positions.
        lengths: (B,) source lengths.
    """
    attended = weights.double().sum(1).clamp(min=1e-9, max=1.0)  # (B, S)
    real = torch.arange(attended.shape[1], device=attended.device) < lengths.to(attended.device)[:, None]
    return attended.log().masked_fill(~real, 0.0).sum(1)
