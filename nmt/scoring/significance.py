"""Tests whether a difference between systems is more than chance: paired tests on sacreBLEU's statistics and draws.

sacreBLEU's own command counts draws with a difference above the observed one. Here draws at the observed difference count
too, as a valid p-value needs (Phipson and Smyth 2010). For two equal systems no draw is above the observed 0, and all are
at it. Where no draw is exactly at the observed difference, both give the same p-value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.chrf import CHRF

from nmt.config.data import Tokenization
from nmt.errors import DataError
from nmt.runtime.stages import counted, stage
from nmt.scoring.accuracy import shares_right
from nmt.scoring.metrics import EVERY_METRIC, METRICS, MetricName, Scorer, resampling_seed

TestName = Literal["bs", "ar"]
"""Paired bootstrap resampling (Koehn 2004) or paired approximate randomisation (Riezler and Maxwell 2005)."""

Floats = NDArray[np.float64]

FEWEST = 6
"""Fewest differing lines for a verdict: n lines are all better by chance in 2 of 2^n cases, over 5 % for n below 6."""

_DRAWS: dict[TestName, int] = {"bs": 1_000, "ar": 10_000}  # sacreBLEU's
_CHUNK = 32  # draws at a time; for a multiple of 32, randomisation draws the same bits as in one piece
_TIE = 1e-9  # scores are quotients of whole numbers; smaller differences come from rounding


@dataclass(frozen=True)
class Difference:
    """A system compared with the first one, in one metric."""

    system: str
    metric: MetricName
    score: float
    difference: float
    p_value: float | None
    """p-value of the null hypothesis that the two are equal; None for the first system."""
    signature: str
    differing: int = 0
    """Number of lines whose statistics differ from the first system's."""

    @property
    def equal(self) -> bool:
        """Whether the two scores are equal to two decimals."""
        return round(abs(self.difference), 2) == 0

    @property
    def significant(self) -> bool:
        """Whether p < 0.05; never if the scores are equal or fewer than `FEWEST` lines differ."""
        return self.p_value is not None and self.p_value < 0.05 and not self.equal and self.differing >= FEWEST


def paired_test(
    systems: Mapping[str, Sequence[str]],
    references: Sequence[str],
    test: TestName = "bs",
    tokenize: Tokenization = "13a",
    samples: int = 0,
    lowercase: bool = False,
    metrics: Sequence[MetricName] = EVERY_METRIC,
) -> list[Difference]:
    """Compares each system with the first, by metric.

    Args:
        systems: translations by name; the first is the baseline.
        references: one per line.
        test: the test to use.
        tokenize: tokenisation for BLEU.
        samples: resamples or trials; 0: sacreBLEU's default of 1,000 or 10,000.
        lowercase: compare lower-cased text.
        metrics: metrics to compute; TER is the slowest.

    Raises:
        DataError: a system has a different number of lines than the references, or there are none.
    """
    for name, lines in systems.items():
        if len(lines) != len(references):
            raise DataError(f"{name} has {len(lines)} translations for {len(references)} references")
    if not references:
        raise DataError("nothing to compare: the test set is empty")
    found: list[Difference] = []
    for metric in metrics:
        kind = METRICS[metric]
        scorer = kind.corpus(tokenize, lowercase)
        with stage(f"paired test by {kind.title}"):
            found += _by_metric(metric, scorer, systems, references, test, samples or _DRAWS[test])
    return found


def paired_accuracy(systems: Mapping[str, Sequence[str]], references: Sequence[str]) -> dict[str, float]:
    """Returns the p-value of each system but the first, which it is compared with.

    The test is the paired bootstrap of `paired_test`, of the mean share of positions with the right token.
    """
    (first, *others), seed = systems, resampling_seed()
    shares = {name: np.array(shares_right(lines, references)) for name, lines in systems.items()}
    found: dict[str, float] = {}
    for name in others:
        draws = [
            (weights @ shares[first], weights @ shares[name])
            for weights in _weights("bs", len(references), _DRAWS["bs"], seed)
        ]
        one, other = (np.concatenate(part) / len(references) for part in zip(*draws, strict=True))
        found[name] = p_value("bs", one, other, float(shares[name].mean() - shares[first].mean()))
    return found


def p_value(test: TestName, first: Floats, second: Floats, observed: float) -> float:
    """Returns the share of draws at or above the observed difference, which counts as a draw too.

    As in sacreBLEU, differences are absolute, and the mean is subtracted from those of the bootstrap.

    Args:
        test: the kind of draws.
        first: scores of one system, one per draw.
        second: scores of the other system.
        observed: difference of the two on the test set.
    """
    gaps = np.abs(second - first)
    if test == "bs":
        gaps = gaps - gaps.mean()
    return (int(np.count_nonzero(gaps >= abs(observed) - _TIE)) + 1) / (len(gaps) + 1)


def _by_metric(
    name: MetricName,
    metric: Scorer,
    systems: Mapping[str, Sequence[str]],
    references: Sequence[str],
    test: TestName,
    samples: int,
) -> Iterator[Difference]:
    """Yields the first system, then the comparison of each other one with it."""
    seed = resampling_seed()
    found = {system: metric.rows(lines, references) for system, lines in systems.items()}
    signature = metric.get_signature()
    signature.update("seed", str(seed).lower())
    signature.update(test, samples)
    (baseline, first), *others = found.items()
    score = metric.score_of(first.sum(0))
    yield Difference(baseline, name, score, 0.0, None, str(signature))
    for system, rows in others:
        other = metric.score_of(rows.sum(0))
        drawn = _drawn(test, metric, first, rows, samples, seed)
        chance = p_value(test, *drawn, other - score)
        differing = int(np.count_nonzero((rows != first).any(1)))
        yield Difference(system, name, other, other - score, chance, str(signature), differing)


def _drawn(
    test: TestName, metric: Scorer, first: Floats, second: Floats, samples: int, seed: int | None
) -> tuple[Floats, Floats]:
    """Returns the scores of the two systems in each draw.

    The bootstrap draws sentences with replacement, the same for both; randomisation swaps sentences of the two at random.
    """
    scores: tuple[list[float], list[float]] = ([], [])
    whole = first.sum(0) + second.sum(0)
    chunks = _weights(test, len(first), samples, seed)
    for weights in counted(chunks, "resampling", -(-samples // _CHUNK), f"times {_CHUNK} draws"):
        one = weights @ first
        if test == "bs":
            other = weights @ second
        else:
            one = one + (1 - weights) @ second
            other = whole - one
        scores[0].extend(metric.scores_of(one))
        scores[1].extend(metric.scores_of(other))
    return np.array(scores[0]), np.array(scores[1])


def _weights(test: TestName, sentences: int, samples: int, seed: int | None) -> Iterator[Floats]:
    """Yields how often each draw takes each sentence, one row per draw, in chunks: sacreBLEU's draws."""
    generator = np.random.default_rng(seed)
    for start in range(0, samples, _CHUNK):
        shape = (min(_CHUNK, samples - start), sentences)
        if test == "ar":
            yield generator.integers(2, size=shape, dtype=bool).astype(np.float64)
        else:
            rows = generator.choice(sentences, size=shape, replace=True)
            yield np.stack([np.bincount(row, minlength=sentences) for row in rows]).astype(np.float64)


def largest_differences(
    one: Sequence[str], other: Sequence[str], references: Sequence[str], count: int, lowercase: bool = False
) -> tuple[list[int], list[int]]:
    """Returns the rows where the first system is better by most, and where the other is, by sentence chrF2."""
    metric = CHRF(lowercase=lowercase)
    gaps = [
        metric.sentence_score(mine, [reference]).score - metric.sentence_score(theirs, [reference]).score
        for mine, theirs, reference in zip(one, other, references, strict=True)
    ]
    order = sorted(range(len(gaps)), key=lambda row: -gaps[row])
    wins = [row for row in order[:count] if gaps[row] > 0]
    losses = [row for row in order[::-1][:count] if gaps[row] < 0]
    return wins, losses
