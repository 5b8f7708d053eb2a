"""The batches of an epoch as a few integers a pair. Rows of a corpus are sorted and cut in blocks, however many there are."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import overload

import numpy as np

from nmt.corpus.encoded import BLOCK, Ints, Lengths, Rows, blocks

Key = Callable[[Rows], Lengths]
"""Returns a number from 0 on for each row."""

_TOGETHER = 256  # batches looked at in one step


class Plan(Sequence[Ints]):
    """Batches of rows of a corpus, in the order in which they are trained on."""

    def __init__(self, rows: Rows, bounds: Ints, order: Ints | None = None) -> None:
        """Takes rows, the places (batches + 1,) where they are cut, and the order of the batches; None: as they are cut."""
        self.rows, self._bounds = rows, bounds
        self._order = np.arange(len(bounds) - 1) if order is None else order

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Ints: ...
    @overload
    def __getitem__(self, index: slice) -> list[Ints]: ...
    def __getitem__(self, index: int | slice) -> Ints | list[Ints]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        place = int(self._order[index])
        return self.rows[self._bounds[place] : self._bounds[place + 1]].astype(np.int64)

    @property
    def sizes(self) -> Ints:
        """(batches,) number of rows."""
        return np.diff(self._bounds)[self._order]

    def longest(self, lengths: Lengths) -> Ints:
        """Returns the largest length in each batch (batches,), given the lengths of all rows of the corpus."""
        found = np.zeros(len(self), np.int64)
        for part in blocks(len(self), _TOGETHER):
            bounds = self._bounds[part.start : part.stop + 1]
            inside = lengths[self.rows[bounds[0] : bounds[-1]]]
            found[part] = np.maximum.reduceat(inside, bounds[:-1] - bounds[0])
        return found[self._order]


def grouped(rows: Rows, key: Key) -> Rows:
    """Sorts rows by a small number of each; those with the same number keep their order. This is a counting sort."""
    counts = tally(key(rows[part]) for part in blocks(len(rows)))
    begins = np.cumsum(counts) - counts
    found = np.empty_like(rows)
    for part in blocks(len(rows)):
        numbers = key(rows[part])
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
        own = np.bincount(numbers, minlength=len(counts))
        found[(begins - (np.cumsum(own) - own))[numbers] + np.arange(len(numbers))] = rows[part][order]
        begins += own
    return found


def tally(parts: Iterable[Lengths]) -> Ints:
    """Counts how often each number from 0 to the largest occurs in some arrays."""
    counts = np.zeros(0, np.int64)
    for numbers in parts:
        own = np.bincount(numbers, minlength=len(counts))
        own[: len(counts)] += counts
        counts = own
    return counts


def total(rows: Rows, lengths: Lengths) -> int:
    """Adds up the lengths of some rows, given those of all rows of the corpus."""
    return sum(int(lengths[rows[part]].sum(dtype=np.int64)) for part in blocks(len(rows)))


def cut(rows: Rows, sides: Sequence[tuple[Lengths, int]]) -> Ints:
    """Returns the places (batches + 1,) that cut rows into batches as large as there is room, of one row at least.

    Args:
        rows: rows of the corpus, in order.
        sides: for one side or both the lengths of all rows of the corpus, and the room of a batch in tokens, with EOS.
    """
    bounds = array("q", [0])
    size = max(BLOCK, 1 + min(room for _, room in sides))  # more than a batch
    while (first := bounds[-1]) < len(rows):
        block = rows[first : first + size]
        filled = [np.cumsum(lengths[block] + 1, dtype=np.int64) for lengths, _ in sides]
        begin, ends_here = 0, first + size >= len(rows)
        while begin < len(block):
            ends = [
                int(full.searchsorted((full[begin - 1] if begin else 0) + room, side="right"))
                for full, (_, room) in zip(filled, sides, strict=True)
            ]
            end = max(begin + 1, min(ends))
            if end == len(block) and not ends_here:
                break  # the next block may hold more of it
            bounds.append(first + end)
            begin = end
    return np.frombuffer(bounds, dtype=np.int64)
