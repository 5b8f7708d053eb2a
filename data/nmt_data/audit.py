"""Which sentences of validation and test sets stand in the training data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from nmt.prepared import TestSet
from nmt.words import normalise

Pair = tuple[str, str]


@dataclass(frozen=True)
class Leak:
    """How many sentences of one test set were found in train."""

    testset: str
    sentences: int
    pairs_exact: int
    """Source and target together, byte for byte."""
    source_exact: int
    target_exact: int
    pairs_normalised: int
    """The same, ignoring case, punctuation and spacing."""
    source_normalised: int
    target_normalised: int

    def as_dict(self) -> dict[str, int | str]:
        """For JSON."""
        return asdict(self)


def audit(train: Sequence[Pair], testsets: Sequence[TestSet]) -> list[Leak]:
    """Looks for the sentences of each test set in the training pairs, exactly and normalised."""
    pairs = [list(zip(testset.source, testset.target, strict=True)) for testset in testsets]
    normalised = [[_normalised(pair) for pair in own] for own in pairs]
    exact, normal = _Found(pairs, train), _Found(normalised, map(_normalised, train))
    return [
        Leak(testset.name, len(testset.source), *exact.count(own), *normal.count(changed))
        for testset, own, changed in zip(testsets, pairs, normalised, strict=True)
    ]


def without_leaks(train: Sequence[Pair], testsets: Sequence[TestSet]) -> list[Pair]:
    """The training pairs of which neither side stands, normalised, in a test set."""
    sources = {normalise(line) for testset in testsets for line in testset.source}
    targets = {normalise(line) for testset in testsets for line in testset.target}
    return [pair for pair in train if normalise(pair[0]) not in sources and normalise(pair[1]) not in targets]


class _Found:
    """What of some test sets stands in the training pairs; of those, which may be millions, nothing else is kept."""

    def __init__(self, testsets: Sequence[Sequence[Pair]], train: Iterable[Pair]) -> None:
        wanted = {pair for testset in testsets for pair in testset}
        sources, targets = ({pair[side] for pair in wanted} for side in (0, 1))
        self.pairs: set[Pair] = set()
        self.sources: set[str] = set()
        self.targets: set[str] = set()
        for pair in train:
            if pair[0] in sources:
                self.sources.add(pair[0])
                if pair in wanted:
                    self.pairs.add(pair)
            if pair[1] in targets:
                self.targets.add(pair[1])

    def count(self, pairs: Sequence[Pair]) -> tuple[int, int, int]:
        """How many of the pairs of a test set were found together, by their source and by their target."""
        return (
            sum(pair in self.pairs for pair in pairs),
            sum(source in self.sources for source, _ in pairs),
            sum(target in self.targets for _, target in pairs),
        )


def _normalised(pair: Pair) -> Pair:
    return normalise(pair[0]), normalise(pair[1])
