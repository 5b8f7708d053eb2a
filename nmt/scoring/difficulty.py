"""Distance of a sentence from the training data: by its rarest word, and by new word sequences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from nmt.corpus.words import split_words

RARITY_BUCKETS = ((0, 0), (1, 5), (6, 50), (51, 500), (501, 1_000_000_000))
"""Ranges of how often the rarest word occurs in the training sources."""
NOVELTY_BUCKETS = ((0, 25), (26, 50), (51, 75), (76, 100))
"""Ranges of the percentage of word trigrams that do not occur in the training sources."""


def rarity(sources: Sequence[str], training: Iterable[str]) -> list[int]:
    """Returns for each source how often its rarest word occurs in the training sources; letter case counts."""
    counts = Counter(word for line in training for word in split_words(line))
    return [min((counts[word] for word in split_words(source)), default=0) for source in sources]


def novelty(sources: Sequence[str], training: Iterable[str]) -> list[int]:
    """Returns for each source the percentage of its word trigrams that occur in no training source.

    A source of one or two words is looked up as a whole.
    """
    wanted = {gram for source in sources for gram in _trigrams(source)}
    known: set[tuple[str, ...]] = set()
    for line in training:
        words = split_words(line)
        for size in (1, 2, 3):
            known.update(gram for gram in _grams(words, size) if gram in wanted)
    shares: list[int] = []
    for source in sources:
        grams = list(_trigrams(source))
        shares.append(round(100 * sum(gram not in known for gram in grams) / max(len(grams), 1)))
    return shares


def _trigrams(text: str) -> Iterator[tuple[str, ...]]:
    words = split_words(text)
    return _grams(words, min(3, max(len(words), 1)))


def _grams(words: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[start : start + size]) for start in range(len(words) - size + 1))
