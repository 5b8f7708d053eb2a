"""Samples of a validation: how a few fixed sentences are translated, and where the model looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nmt.corpus.words import count_words
from nmt.translation.pieces import PieceAttention, attend_pieces
from nmt.translation.translator import Translator

SAMPLES_KIND = "samples"
"""Kind of the entries of `samples.jsonl`."""

_SHOWN = 4  # sentences
_SEEN = 2  # the first ones, with attention
_WORDS = range(4, 17)  # of sentences that are easy to follow
_MOST = 48  # target pieces with attention: an untrained model repeats itself


@dataclass(frozen=True)
class Sample:
    """A validation sentence with its greedy translation."""

    source: str
    reference: str
    translation: str
    attention: PieceAttention | None = None


def sample_rows(sources: Sequence[str]) -> list[int]:
    """Chooses the sentences to show: the same ones in each validation, and from all parts of the set."""
    filled = [row for row, line in enumerate(sources) if line.strip()]
    handy = [row for row in filled if count_words(sources[row]) in _WORDS] or filled
    count = min(_SHOWN, len(handy))
    return [handy[(2 * index + 1) * len(handy) // (2 * count)] for index in range(count)]


def with_attention(samples: Sequence[Sample], translator: Translator) -> list[Sample]:
    """Returns the samples, the first ones with the attention of the model."""
    seen = [_seen(translator, sample) for sample in samples[:_SEEN]]
    return [replace(sample, attention=found) for sample, found in zip(samples, seen, strict=False)] + list(
        samples[_SEEN:]
    )


def sampled(step: int, samples: Sequence[Sample]) -> dict[str, Any]:
    """Converts the samples of a validation to a line of `samples.jsonl`."""
    return {"kind": SAMPLES_KIND, "step": step, "sentences": [asdict(sample) for sample in samples]}


def _seen(translator: Translator, sample: Sample) -> PieceAttention | None:
    found = attend_pieces(translator, sample.source, sample.translation)
    return found and replace(found, target=found.target[:_MOST], weights=found.weights[:_MOST])
