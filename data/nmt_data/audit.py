"""Which sentences of validation and test sets stand in the training data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from nmt.corpus.words import normalise

Pair = tuple[str, str]
Sentence = tuple[str, str]
"""A language and a text in it."""


@dataclass(frozen=True)
class Text:
    """Pairs of one direction, from `source` into `target`, languages both."""

    source: str
    target: str
    pairs: Sequence[Pair]

    def sentences(self, normalised: bool) -> Iterator[tuple[Sentence, Sentence]]:
        """Both sides of each pair, as they are or without case, punctuation and spacing."""
        source, target = _language(self.source), _language(self.target)
        for one, other in self.pairs:
            if normalised:
                yield (source, normalise(one, source)), (target, normalise(other, target))
            else:
                yield (source, one), (target, other)


@dataclass(frozen=True)
class Leak:
    """How many sentences of one test set were found in train, on either side of any corpus in the same language."""

    testset: str
    sentences: int
    pairs_exact: int
    """Source and target together, byte for byte, in either direction."""
    source_exact: int
    target_exact: int
    pairs_normalised: int
    """The same, ignoring case, punctuation and spacing."""
    source_normalised: int
    target_normalised: int

    def as_dict(self) -> dict[str, int | str]:
        """For JSON."""
        return asdict(self)


def audit(trains: Sequence[Text], testsets: Mapping[str, Sequence[Text]]) -> list[Leak]:
    """Looks for the sentences of each test set, of one direction or several, in the training pairs of all corpora."""
    found = [_Found(trains, testsets.values(), normalised) for normalised in (False, True)]
    return [
        Leak(name, sum(len(text.pairs) for text in texts), *found[0].count(texts), *found[1].count(texts))
        for name, texts in testsets.items()
    ]


def without_leaks(train: Text, testsets: Iterable[Text]) -> Text:
    """The training pairs of which neither side stands, normalised, on a side of a test set in the same language."""
    known = {side for text in testsets for sides in text.sentences(normalised=True) for side in sides}
    if not known:
        return train
    sentences = zip(train.pairs, train.sentences(normalised=True), strict=True)
    return Text(train.source, train.target, [pair for pair, sides in sentences if known.isdisjoint(sides)])


class _Found:
    """What of some test sets stands in the training pairs; of those, which may be millions, nothing else is kept."""

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
        """How many of the pairs of a test set were found together, by their source and by their target."""
        rows = [sides for text in texts for sides in text.sentences(self.normalised)]
        return (
            sum(frozenset(sides) in self.pairs for sides in rows),
            sum(source in self.sentences for source, _ in rows),
            sum(target in self.sentences for _, target in rows),
        )


def _language(code: str) -> str:
    """Without its region or script, so that corpora that name it otherwise are compared."""
    return code.replace("_", "-").split("-")[0].lower()
