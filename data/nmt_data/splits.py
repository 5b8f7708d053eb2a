"""Holds pairs out of train, and checks that test sets are worth scoring."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest

import numpy as np

from nmt.corpus.testset import TestSet
from nmt.corpus.words import Normaliser, normalise
from nmt.errors import DataError
from nmt_data.audit import Pair, Suspect
from nmt_data.cards import CorpusCard
from nmt_data.shards import row_numbers, unpacked


@dataclass(frozen=True, order=True)
class Candidate:
    """A pair that may be held out; those with the smallest hashes are."""

    digest: bytes
    """Of the text without case, punctuation and spacing."""
    translation: str
    row: int
    pair: Pair


@dataclass(frozen=True)
class Chooser:
    """Chooses pairs of a shard that may be held out."""

    count: int
    """Number of pairs to hold out of the whole corpus."""
    side: int = 0
    """0 hashes the source, 1 the target."""

    def __call__(self, numbered: tuple[int, Suspect]) -> list[Candidate]:
        """Returns the first candidates of a shard, given with its number: one more than are held out of the corpus."""
        number, suspect = numbered
        sides = unpacked(suspect.shard, suspect.kept)
        lines = map(Normaliser(suspect.languages[self.side]), sides[self.side])
        digests = (hashlib.sha256(line.encode()).digest() for line in lines)
        rows = row_numbers(number, np.flatnonzero(suspect.kept)).tolist()
        pairs = zip(*sides, strict=True)
        return first_candidates(map(Candidate, digests, sides[1 - self.side], rows, pairs), self.count)


def first_candidates(candidates: Iterable[Candidate], count: int) -> list[Candidate]:
    """Returns the first candidates in order, one for each text: one more than `count`, if there are so many."""
    best: dict[bytes, Candidate] = {}
    for candidate in sorted(candidates):
        if len(best) > count:
            break
        best.setdefault(candidate.digest, candidate)
    return list(best.values())


def hold_out(candidates: Sequence[Candidate], card: CorpusCard, total: int) -> tuple[list[TestSet], list[int]]:
    """Makes validation and test sets of the first candidates, and returns them and their rows in train.

    Args:
        candidates: the first ones of the whole corpus, in order.
        card: says how many to hold out.
        total: number of pairs of the corpus.

    Raises:
        DataError: there are too few different texts to hold out and still train.
    """
    wanted = {name: count for name, count in card.holdout.model_dump().items() if count}
    if (count := sum(wanted.values())) >= len(candidates):
        raise DataError(
            f"corpus {card.name}: holdout wants {count} of only {total} pairs with {len(candidates)} different texts"
        )
    testsets: list[TestSet] = []
    remaining = iter(candidates)
    rows: list[int] = []
    for name, size in wanted.items():
        chosen = sorted(islice(remaining, size), key=lambda candidate: candidate.row)
        rows += [candidate.row for candidate in chosen]
        testsets.append(testset_of(name, [candidate.pair for candidate in chosen]))
    return testsets, rows


def testset_of(name: str, pairs: Sequence[Pair]) -> TestSet:
    """Makes a test set of pairs."""
    return TestSet(name, [source for source, _ in pairs], [target for _, target in pairs])


def check_testset(testset: TestSet, corpus: str, say: Callable[[str], None]) -> None:
    """Refuses a test set whose score would mean nothing, and reports one that is mostly copies.

    Raises:
        DataError: it has no lines, no line with text on both sides, or only one pair, repeated.
    """
    kind = "validation set" if testset.name == "valid" else f"test set {testset.name}"
    where, lines = f"corpus {corpus}, {kind}", len(testset.source)
    if not lines:
        raise DataError(f"{where}: there are no lines; name a file that has some, or leave the split out")
    pairs = zip(testset.source, testset.target, strict=True)
    filled = [(normalise(source), normalise(target)) for source, target in pairs if source and target]
    if not filled:
        raise DataError(f"{where}: all {lines} lines are blank on one side or both")
    different = len(set(filled))
    if different == 1 < len(filled):
        raise DataError(f"{where}: holds one pair {len(filled)} times; a score of it would say nothing")
    if 2 * different < len(filled):
        say(f"{where}: only {different} of {len(filled)} pairs are different; a score of them says little")


def interleaved(testsets: Sequence[TestSet]) -> TestSet:
    """Interleaves the lines of test sets to one, so that its first lines come from all of them."""
    columns = [
        zip(item.source, item.target, item.languages or [""] * len(item.source), strict=True) for item in testsets
    ]
    rows = [row for rows in zip_longest(*columns) for row in rows if row is not None]
    languages = [language for *_, language in rows]
    return TestSet(
        "valid", [row[0] for row in rows], [row[1] for row in rows], languages=languages if any(languages) else []
    )
