"""Minimum Bayes risk decoding: of some samples, the one that the others agree with most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from nmt.config.data import Tokenization

Utility = Literal["chrf", "bleu"]


def expected_utilities(
    samples: Sequence[str], utility: Utility = "chrf", tokenize: Tokenization = "13a"
) -> list[float]:
    """The mean of u(h, r) over all samples r, for each sample h: Eikema and Aziz 2020, equation 4; from 0 to 100.

    Samples that are alike are scored once and counted as often as they were drawn. BLEU splits words by `tokenize`.
    """
    metric: Metric = CHRF() if utility == "chrf" else BLEU(effective_order=True, tokenize=tokenize)
    counts = Counter(samples)
    values = {
        sample: sum(count * metric.sentence_score(sample, [other]).score for other, count in counts.items())
        for sample in counts
    }
    return [values[sample] / len(samples) for sample in samples]
