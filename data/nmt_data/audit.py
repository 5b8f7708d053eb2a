"""Which sentences of validation and test sets stand in the training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from nmt.prepared import TestSet
from nmt_data.cleaning import normalise

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
    exact = _Index(train)
    normal = _Index([(normalise(source), normalise(target)) for source, target in train])
    leaks: list[Leak] = []
    for testset in testsets:
        pairs = list(zip(testset.source, testset.target, strict=True))
        counts = exact.count(pairs) + normal.count([(normalise(source), normalise(target)) for source, target in pairs])
        leaks.append(Leak(testset.name, len(pairs), *counts))
    return leaks


def without_leaks(train: Sequence[Pair], testsets: Sequence[TestSet]) -> list[Pair]:
    """The training pairs of which neither side stands, normalised, in a test set."""
    sources = {normalise(line) for testset in testsets for line in testset.source}
    targets = {normalise(line) for testset in testsets for line in testset.target}
    return [pair for pair in train if normalise(pair[0]) not in sources and normalise(pair[1]) not in targets]


class _Index:
    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = set(pairs)
        self.sources = {source for source, _ in pairs}
        self.targets = {target for _, target in pairs}

    def count(self, pairs: Sequence[Pair]) -> tuple[int, int, int]:
        return (
            sum(pair in self.pairs for pair in pairs),
            sum(source in self.sources for source, _ in pairs),
            sum(target in self.targets for _, target in pairs),
        )
