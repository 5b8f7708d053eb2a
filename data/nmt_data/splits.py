"""Holds pairs out of train, and checks that test sets are worth scoring."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import zip_longest

from nmt.corpus.testset import TestSet
from nmt.corpus.words import normalise
from nmt.errors import DataError
from nmt_data.audit import Pair, Text
from nmt_data.cards import CorpusCard


def hold_out(train: Text, card: CorpusCard) -> tuple[Text, list[TestSet]]:
    """Takes validation and test pairs out of train by a hash of the source, at most one pair per source.

    Raises:
        DataError: there are too few different sources to hold out and still train.
    """
    wanted = {name: count for name, count in card.holdout.model_dump().items() if count}
    if not wanted:
        return train, []
    digests = [hashlib.sha256(normalise(source, train.source).encode()).digest() for source, _ in train.pairs]
    order = sorted(range(len(digests)), key=lambda row: (digests[row], train.pairs[row][1]))
    different = [
        row for row, before in zip(order, [-1, *order], strict=False) if before < 0 or digests[row] != digests[before]
    ]
    if (count := sum(wanted.values())) >= len(different):
        raise DataError(
            f"corpus {card.name}: holdout wants {count} of only {len(digests)} pairs with {len(different)} different sources"
        )
    testsets: list[TestSet] = []
    taken: set[int] = set()
    for name, size in wanted.items():
        rows = sorted(different[len(taken) : len(taken) + size])
        taken.update(rows)
        testsets.append(testset_of(name, [train.pairs[row] for row in rows]))
    rest = [pair for row, pair in enumerate(train.pairs) if row not in taken]
    return Text(train.source, train.target, rest), testsets


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
