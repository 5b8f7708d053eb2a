"""Finds sentences of validation and test sets in the training data, shard by shard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from nmt.corpus.languages import code_of
from nmt.corpus.words import Normaliser, Normalisers, count_words
from nmt_data.shards import Mask, Rows, unpacked

Pair = tuple[str, str]
Sentence = tuple[str, str]
"""A language and a text in that language."""


@dataclass(frozen=True)
class Text:
    """Pairs of one direction, from the language `source` to the language `target`."""

    source: str
    target: str
    pairs: Sequence[Pair]

    def sentences(self, normalised: bool) -> Iterator[tuple[Sentence, Sentence]]:
        """Yields both sides of each pair, unchanged or without case, punctuation and spacing."""
        source, target = code_of(self.source), code_of(self.target)
        judges = Normaliser(source), Normaliser(target)
        for one, other in self.pairs:
            if normalised:
                yield (source, judges[0](one)), (target, judges[1](other))
            else:
                yield (source, one), (target, other)


@dataclass(frozen=True)
class Leak:
    """How many sentences of a test set are in train, on either side of any corpus in the same language."""

    testset: str
    sentences: int
    pairs_exact: int
    """Pairs found whole, byte for byte, in either direction."""
    source_exact: int
    target_exact: int
    pairs_normalised: int
    """Pairs found whole, ignoring case, punctuation and spacing."""
    source_normalised: int
    target_normalised: int

    def as_dict(self) -> dict[str, int | str]:
        """Returns the counts for JSON."""
        return asdict(self)


@dataclass
class Found:
    """Test sentences, and pairs of them, that were found in training pairs."""

    sentences: set[Sentence] = field(default_factory=set[Sentence])
    pairs: set[frozenset[Sentence]] = field(default_factory=set[frozenset[Sentence]])

    def add(self, other: Found) -> None:
        """Adds what was found elsewhere."""
        self.sentences |= other.sentences
        self.pairs |= other.pairs

    def count(self, rows: Sequence[tuple[Sentence, Sentence]]) -> tuple[int, int, int]:
        """Counts the pairs of a test set found together, those found by source, and those found by target."""
        return (
            sum(frozenset(sides) in self.pairs for sides in rows),
            sum(source in self.sentences for source, _ in rows),
            sum(target in self.sentences for _, target in rows),
        )


def leaks(testsets: Mapping[str, Sequence[Text]], exact: Found, normalised: Found) -> list[Leak]:
    """Counts for each test set, in one direction or several, what was found of it."""

    def count(texts: Sequence[Text], found: Found, alike: bool) -> tuple[int, int, int]:
        return found.count([sides for text in texts for sides in text.sentences(alike)])

    return [
        Leak(name, sum(len(text.pairs) for text in texts), *count(texts, exact, False), *count(texts, normalised, True))
        for name, texts in testsets.items()
    ]


@dataclass(frozen=True)
class Suspect:
    """A shard to be audited, and which of its rows are left."""

    shard: bytes
    kept: Mask
    languages: tuple[str, str]


@dataclass(frozen=True)
class Audited:
    """What an audit leaves of a shard, and what it found there."""

    beside_held_out: Mask
    """Rows dropped because they share a side with a held-out pair."""
    leaked: Mask
    """Rows dropped because they share a side with a test set."""
    exact: Found
    normalised: Found
    longest: int
    """Most words of a source that is left."""


class Auditor:
    """Looks for held-out and test sentences in shards; a language may name its region or script."""

    def __init__(self, held_out: Iterable[Text], testsets: Iterable[Text], drop_leaked: bool) -> None:
        """Drops pairs that share a side, normalised, with a held-out pair, and on demand those with one of a test set."""
        self._normalisers = Normalisers()
        self._held_out, self._drop_leaked = _Wanted(held_out, normalised=True), drop_leaked
        testsets = list(testsets)
        self._exact, self._normalised = (_Wanted(testsets, normalised) for normalised in (False, True))

    def __call__(self, suspect: Suspect) -> Audited:
        """Audits the rows that are left of a shard."""
        sides, rows = unpacked(suspect.shard, suspect.kept), np.flatnonzero(suspect.kept)
        first, second = (code_of(language) for language in suspect.languages)
        alike = list(map(self._normalisers[first], sides[0])), list(map(self._normalisers[second], sides[1]))
        beside = self._held_out.rows(first, alike[0], second, alike[1])
        left = np.ones(len(rows), bool)
        left[beside] = False
        exact = self._exact.found(first, sides[0], second, sides[1], left)
        normalised = self._normalised.found(first, alike[0], second, alike[1], left)
        leaked = [row for row in self._normalised.rows(first, alike[0], second, alike[1]) if left[row]]
        if not self._drop_leaked:
            leaked = []
        left[leaked] = False
        longest = max((count_words(sides[0][row]) for row in np.flatnonzero(left).tolist()), default=0)
        size = len(suspect.kept)
        return Audited(_mask(rows[beside], size), _mask(rows[leaked], size), exact, normalised, longest)


def _mask(rows: Rows, size: int) -> Mask:
    mask = np.zeros(size, bool)
    mask[rows] = True
    return mask


class _Wanted:
    """Sentences to look for, by language."""

    def __init__(self, texts: Iterable[Text], normalised: bool) -> None:
        self.pairs = {frozenset(sides) for text in texts for sides in text.sentences(normalised)}
        self.lines: dict[str, set[str]] = defaultdict(set)
        for language, line in frozenset[Sentence]().union(*self.pairs):
            self.lines[language].add(line)

    def rows(self, first: str, source: Sequence[str], second: str, target: Sequence[str]) -> list[int]:
        """Returns the rows with a side to look for."""
        nothing = frozenset[str]()
        sources, targets = self.lines.get(first, nothing), self.lines.get(second, nothing)
        if not sources and not targets:
            return []
        both = enumerate(zip(source, target, strict=True))
        return [row for row, (one, other) in both if one in sources or other in targets]

    def found(self, first: str, source: Sequence[str], second: str, target: Sequence[str], left: Mask) -> Found:
        """Returns which of the sentences to look for occur in rows that are left."""
        found = Found()
        for row in self.rows(first, source, second, target):
            if left[row]:
                sides = (first, source[row]), (second, target[row])
                known = [(language, line) for language, line in sides if line in self.lines.get(language, ())]
                found.sentences.update(known)
                if len(known) == 2 and (pair := frozenset(sides)) in self.pairs:
                    found.pairs.add(pair)
        return found
