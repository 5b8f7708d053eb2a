"""Whether a difference between systems is more than chance: sacreBLEU's paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.significance import PairedTest

from nmt.config import Tokenization
from nmt.errors import DataError

TestName = Literal["bs", "ar"]
"""Paired bootstrap resampling (Koehn 2004) or paired approximate randomisation (Riezler and Maxwell 2005)."""


@dataclass(frozen=True)
class Difference:
    """A system beside the first one, in one metric."""

    system: str
    metric: str
    score: float
    difference: float
    p_value: float | None
    """Of the null hypothesis that the two are alike; None for the first system itself."""
    signature: str

    @property
    def significant(self) -> bool:
        """At the level of 5 %."""
        return self.p_value is not None and self.p_value < 0.05


def paired_test(
    systems: Mapping[str, Sequence[str]],
    references: Sequence[str],
    test: TestName = "bs",
    tokenize: Tokenization = "13a",
    samples: int = 0,
    bleu_alone: bool = False,
) -> list[Difference]:
    """Each system against the first, in BLEU, chrF2 and TER, by metric.

    Args:
        systems: translations by name; the first is the baseline.
        references: one for each line.
        test: which one.
        tokenize: of BLEU.
        samples: resamples or trials; 0: sacreBLEU's default of 1,000 or 10,000.
        bleu_alone: leave out the two others, which take their time.

    Raises:
        DataError: a system has not as many lines as there are references.
    """
    for name, lines in systems.items():
        if len(lines) != len(references):
            raise DataError(f"{name} has {len(lines)} translations for {len(references)} references")
    metrics: dict[str, Metric] = {"BLEU": BLEU(tokenize=tokenize, force=tokenize == "none")}
    if not bleu_alone:
        metrics |= {"chrF2": CHRF(), "TER": TER()}
    named: list[tuple[str, Sequence[str]]] = [(name, list(lines)) for name, lines in systems.items()]
    signatures, scores = PairedTest(named, metrics, [list(references)], test, samples)()
    names = [str(name) for name in scores.pop("System")]
    return [
        _difference(metric, name, result, results[0], str(signatures[metric]))
        for metric, results in scores.items()
        for name, result in zip(names, results, strict=True)
    ]


def _difference(metric: str, name: str, result: Any, first: Any, signature: str) -> Difference:
    return Difference(name, metric, result.score, result.score - first.score, result.p_value, signature)


def largest_differences(
    one: Sequence[str], other: Sequence[str], references: Sequence[str], count: int
) -> tuple[list[int], list[int]]:
    """Rows where the first translates better by most, and where the other does: by sentence chrF2."""
    metric = CHRF()
    gaps = [
        metric.sentence_score(mine, [reference]).score - metric.sentence_score(theirs, [reference]).score
        for mine, theirs, reference in zip(one, other, references, strict=True)
    ]
    order = sorted(range(len(gaps)), key=lambda row: -gaps[row])
    wins = [row for row in order[:count] if gaps[row] > 0]
    losses = [row for row in order[::-1][:count] if gaps[row] < 0]
    return wins, losses
