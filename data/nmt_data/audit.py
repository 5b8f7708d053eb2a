"""Finds sentences of validation and test sets in the training data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from nmt.corpus.words import normalise

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
        source, target = _language(self.source), _language(self.target)
        for one, other in self.pairs:
            if normalised:
                yield (source, normalise(one, source)), (target, normalise(other, target))
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


def audit(trains: Sequence[Text], testsets: Mapping[str, Sequence[Text]]) -> list[Leak]:
    """Looks for the sentences of each test set, in one direction or several, in the training pairs of all corpora."""
    found = [_Found(trains, testsets.values(), normalised) for normalised in (False, True)]
    return [
        Leak(name, sum(len(text.pairs) for text in texts), *found[0].count(texts), *found[1].count(texts))
        for name, texts in testsets.items()
    ]


def without_leaks(train: Text, testsets: Iterable[Text]) -> Text:
    """Drops training pairs with a side that is, normalised, in a test set of the same language."""
    known = {side for text in testsets for sides in text.sentences(normalised=True) for side in sides}
    if not known:
        return train
    sentences = zip(train.pairs, train.sentences(normalised=True), strict=True)
    return Text(train.source, train.target, [pair for pair, sides in sentences if known.isdisjoint(sides)])


class _Found:
    """Test sentences found in the training pairs. There may be millions of those, so nothing else is kept."""

    def __init__(self, trains: Iterable[Text], testsets: Iterable[Sequence[Text]], normalised: bool) -> None:
        self.normalised = normalised
        wanted = {frozenset(sides) for texts in testsets for text in texts for sides in text.sentences(normalised)}
        sentences = frozenset[Sentence]().union(*wanted)
        self.pairs: set[frozenset[Sentence]] = set()
        self.sentences: set[Sentence] = set()
        for sides in (sides for train in trains for sides in train.sentences(normalised)):
            known = [side for side in sides if side in sentences]
            self.sentences.update(known)
            if len(known) == 2 and (pair := frozenset(sides)) in wanted:
                self.pairs.add(pair)

    def count(self, texts: Iterable[Text]) -> tuple[int, int, int]:
        """Counts the pairs of a test set found together, those found by source, and those found by target."""
        rows = [sides for text in texts for sides in text.sentences(self.normalised)]
        return (
            sum(frozenset(sides) in self.pairs for sides in rows),
            sum(source in self.sentences for source, _ in rows),
            sum(target in self.sentences for _, target in rows),
        )


def _language(code: str) -> str:
    """Drops region and script, so that corpora with different language codes can be compared."""
    return code.replace("_", "-").split("-")[0].lower()
