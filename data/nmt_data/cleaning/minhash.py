"""MinHash signatures of pairs, in bands: pairs that resemble each other share a band, others hardly ever do.

Broder 1997, "On the resemblance and containment of documents"; the bands are those of Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", section 3.4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
Bands = npt.NDArray[np.uint64]

HASHES = 128
"""Number of permutations of which a signature keeps the minima."""
_SHINGLE = 5  # letters
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio


def shape_of(threshold: float) -> tuple[int, int]:
    """Returns the number of bands b and of rows r in each, for which (1 / b)^(1 / r) is nearest to the threshold.

    Two pairs with a share s of common shingles share a band with the probability `found`: an S-curve, steepest there.
    """
    rows = min(range(1, HASHES + 1), key=lambda count: abs((count / HASHES) ** (1 / count) - threshold))
    return HASHES // rows, rows


def found(similarity: float, bands: int, rows: int) -> float:
    """Returns the probability 1 - (1 - s^r)^b that two pairs share a band, at the similarity s."""
    return 1 - (1 - similarity**rows) ** bands


def bands_of(texts: Sequence[str], threshold: float, kind: str = "") -> Bands:
    """Returns the bands (b, N) of texts: equal numbers in the same band mean equal minima of all its permutations.

    Args:
        texts: compared by their 5-grams of letters; shorter ones are one shingle.
        threshold: chooses the shape, see `shape_of`.
        kind: texts of different kinds, such as other languages, share no band, however alike they are.
    """
    bands, rows = shape_of(threshold)
    if not texts:
        return np.zeros((bands, 0), np.uint64)
    shingles, starts = _shingles(texts)
    start = int.from_bytes(hashlib.blake2b(kind.encode(), digest_size=8).digest(), "little")
    result = np.full((bands, len(texts)), start, np.uint64)
    for number, (factor, term) in enumerate(_permutations()[: bands * rows]):
        minima = np.minimum.reduceat(shingles * factor + term, starts)
        band = result[number // rows]
        band[:] = _mixed(band ^ minima)
    return result


def _shingles(texts: Sequence[str]) -> tuple[Words, Any]:
    """Returns hashes of the shingles of all texts, and where those of each text start."""
    padded = [text.ljust(_SHINGLE, "\0") for text in texts]
    letters = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    lengths = np.array([len(text) for text in padded])
    hashed = np.zeros(len(letters) - _SHINGLE + 1, np.uint64)
    for place in range(_SHINGLE):
        hashed = _mixed(hashed + letters[place : place + len(hashed)])
    inside = np.ones(len(letters), bool)
    ends = np.cumsum(lengths)
    for place in range(1, _SHINGLE):
        inside[ends - place] = False
    counts = lengths - _SHINGLE + 1
    return (hashed[inside[: len(hashed)]] >> np.uint64(32)).astype(np.uint32), np.cumsum(counts) - counts


@cache
def _permutations() -> list[tuple[np.uint32, np.uint32]]:
    """Returns factors, which are odd, and terms: x -> factor x + term is a permutation of 32-bit numbers."""
    drawn = _mixed(np.arange(1, 2 * HASHES + 1, dtype=np.uint64) * _GOLDEN) >> np.uint64(32)
    return [(np.uint32(int(drawn[2 * i]) | 1), np.uint32(drawn[2 * i + 1])) for i in range(HASHES)]


def _mixed(values: Bands) -> Bands:
    """Mixes the bits of numbers (the finaliser of splitmix64: Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
