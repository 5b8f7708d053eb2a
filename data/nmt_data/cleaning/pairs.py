"""Pairs in columns, and what a filter is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nmt.config.cleaning import CleaningConfig
from nmt_data.shards import Mask


@dataclass(frozen=True)
class Pairs:
    """Pairs of two languages; line i of one side belongs to line i of the other."""

    source: Sequence[str]
    target: Sequence[str]
    languages: tuple[str, str] = ("", "")

    def __len__(self) -> int:
        return len(self.source)

    def only(self, rows: Mask) -> Pairs:
        """Returns those of the pairs for which `rows` is true."""
        chosen = np.flatnonzero(rows).tolist()
        return Pairs([self.source[row] for row in chosen], [self.target[row] for row in chosen], self.languages)

    def each(self, wanted: Callable[[str, str], bool]) -> Mask:
        """Asks for every pair; returns (N,) answers."""
        return np.fromiter(map(wanted, self.source, self.target), bool, len(self.source))

    def either(self, wanted: Callable[[str], bool]) -> Mask:
        """Asks for every side; returns for each pair whether the answer was yes for one of them, (N,)."""
        return self.each(lambda source, target: wanted(source) or wanted(target))

    def none(self) -> Mask:
        """Returns the answer no for every pair (N,)."""
        return np.zeros(len(self), bool)


Filter = Callable[[Pairs, CleaningConfig], Mask]
"""Returns which pairs are to be dropped (N,)."""
