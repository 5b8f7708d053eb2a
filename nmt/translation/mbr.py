"""Minimum Bayes risk decoding: chooses the sample that agrees most with the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from nmt.config.data import Tokenization
from nmt.scoring.metrics import METRICS

Utility = Literal["chrf2", "bleu"]


def expected_utilities(
    samples: Sequence[str], utility: Utility = "chrf2", tokenize: Tokenization = "13a"
) -> list[float]:
    """Returns the mean of u(h, r) over all samples r for each sample h, from 0 to 100: Eikema and Aziz 2020, equation 4.

    Equal samples are scored once and weighted by their count. BLEU splits words by `tokenize`.
    """
    metric = METRICS[utility].sentence(tokenize)
    counts = Counter(samples)
    values = {
        sample: sum(count * metric.sentence_score(sample, [other]).score for other, count in counts.items())
        for sample in counts
    }
    return [values[sample] / len(samples) for sample in samples]
