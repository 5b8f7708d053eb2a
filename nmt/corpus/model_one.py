"""IBM model 1 (Brown et al. 1993, section 4.1): which words are translations of each other, learned from sentence pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Meetings:
    """All pairs of a source and a target position of the same sentence pair, (M,) each, by sentence pair."""

    source: Ids
    """Source ids."""
    target: Ids
    """Target ids."""
    position: Ids
    """Numbers of the target positions among those of all sentences."""

    @classmethod
    def of(cls, source: Ids, left: Ids, target: Ids, right: Ids) -> Meetings:
        """Makes them of the ids of all sources and of all targets, and the lengths (N,) of the sentences."""
        sizes = left * right
        owner = np.repeat(np.arange(len(left)), sizes)
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        column, line = within // right[owner], within % right[owner]
        starts = np.cumsum(left) - left, np.cumsum(right) - right
        places = starts[0][owner] + column, starts[1][owner] + line
        return cls(source[places[0]], target[places[1]], places[1])


@dataclass(frozen=True)
class TranslationTable:
    """The probabilities t(target | source) of ids that met."""

    keys: Ids
    """(K,) source id times `width` plus target id, ascending."""
    probability: Floats
    """(K,)"""
    width: int

    @classmethod
    def learned(cls, meetings: Meetings, sizes: tuple[int, int], rounds: Iterable[Any]) -> TranslationTable:
        """Learns by expectation maximisation, starting from equal probabilities.

        Args:
            meetings: of the sentence pairs to learn from.
            sizes: number of source and target ids.
            rounds: an iteration for each.
        """
        width, position = sizes[1], meetings.position
        keys, place = np.unique(meetings.source * width + meetings.target, return_inverse=True)
        probability = np.ones(len(keys))
        for _ in rounds:
            # over the source tokens of a target token
            share = probability[place] / np.bincount(position, probability[place])[position]
            counts = np.bincount(place, share, len(keys))
            probability = counts / np.bincount(keys // width, counts, sizes[0])[keys // width]
        return cls(keys, probability, width)

    def of(self, source: Ids, target: Ids) -> Floats:
        """Returns the probabilities of pairs of ids; 0 for those that never met."""
        wanted = source * self.width + target
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[places] == wanted, self.probability[places], 0.0)
