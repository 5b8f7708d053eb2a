"""Attention of finished translations, and ranking by coverage."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from nmt.corpus.tokenizer import BOS, EOS
from nmt.decoding.batches import padded
from nmt.decoding.beam_search import Hypothesis
from nmt.decoding.ensemble import Ensemble
from nmt.models import Model
from nmt.translation.alignment import coverage

# N hypotheses of a sentence, T target tokens, S source tokens


def attention_of(
    model: Model | Ensemble, device: torch.device, ids: Sequence[list[int]], found: Sequence[Sequence[Hypothesis]]
) -> Iterator[Tensor]:
    """Yields the attention (N, T, S) of the hypotheses of each sentence of source tokens: on the CPU, zero at padding."""
    for tokens, hypotheses in zip(ids, found, strict=True):
        if not hypotheses:  # every one was forbidden
            yield torch.zeros(0, 0, len(tokens) + 1)
            continue
        source, lengths = padded([tokens] * len(hypotheses), before=-1, after=EOS)
        target, sizes = padded([item.tokens for item in hypotheses], before=BOS, after=-1)
        with torch.inference_mode():
            weights = model.attention(source.to(device), lengths, target.to(device))
        real = torch.arange(target.shape[1]) < sizes[:, None]
        yield weights.float().cpu() * real[:, :, None]


def ranked_by_coverage(
    found: Sequence[Sequence[Hypothesis]], attention: Iterable[Tensor], ids: Sequence[list[int]], weight: float
) -> list[list[Hypothesis]]:
    """Adds the coverage penalty times `weight` to the scores and sorts, best first; attention is from `attention_of`."""
    ranked: list[list[Hypothesis]] = []
    for tokens, hypotheses, seen in zip(ids, found, attention, strict=True):
        values = (weight * coverage(seen, torch.full((len(hypotheses),), len(tokens) + 1))).tolist()
        scored = [
            dataclasses.replace(item, score=item.score + value) for item, value in zip(hypotheses, values, strict=True)
        ]
        ranked.append(sorted(scored, key=lambda item: -item.score))
    return ranked
