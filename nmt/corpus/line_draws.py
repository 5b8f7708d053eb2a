"""Random numbers of lines: each is a function of a name, a line and a number, so that lines can be drawn in any order."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from nmt.corpus.encoded import Ints

Floats = npt.NDArray[np.float64]
_States = npt.NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15


def uniforms(name: str, lines: Ints, numbers: Ints | None = None) -> Floats:
    """Draws a number from 0 to below 1 for each line (N,), or for each pair of a line and a number (N,).

    The numbers are hashed by SplitMix64 (Steele et al. 2014, figure 15); the name chooses where it begins.
    """
    begin = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    states = _mixed(lines.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(begin))
    if numbers is not None:
        states = _mixed(states + (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN))
    return np.ldexp((states >> np.uint64(11)).astype(np.float64), -53)


def _mixed(states: _States) -> _States:
    states = (states ^ (states >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    states = (states ^ (states >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return states ^ (states >> np.uint64(31))
