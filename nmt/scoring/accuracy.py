"""The share of positions with the right token, for symbol tasks with one right answer."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from nmt.scoring.metrics import Bucket, Score, check_lines


def shares_right(hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    """Returns for each sentence the percentage of reference positions with the right token."""
    pairs = [(found.split(), wanted.split()) for found, wanted in zip(hypotheses, references, strict=True)]
    return [
        100 * sum(one == two for one, two in zip(found, wanted, strict=False)) / max(len(wanted), 1)
        for found, wanted in pairs
    ]


def accuracy_by_length(sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> list[Bucket]:
    """Computes the percentage of reference positions with the right token, in one bucket per source length.

    This suits symbol tasks with one right answer; the interval is the normal one over sentences.
    """
    check_lines(hypotheses, references)
    shares: dict[int, list[float]] = {}
    for source, share in zip(sources, shares_right(hypotheses, references), strict=True):
        shares.setdefault(len(source.split()), []).append(share)
    buckets: list[Bucket] = []
    for length, values in sorted(shares.items()):
        margin = 1.96 * stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
        middle = fmean(values)
        score = Score("accuracy", middle, middle - margin, middle + margin, "positions with the right token")
        buckets.append(Bucket(length, length, len(values), score))
    return buckets
