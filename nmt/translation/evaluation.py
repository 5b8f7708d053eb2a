"""Translates a test set and scores the translations."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from nmt.corpus.testset import TestSet
from nmt.runtime.stages import stage
from nmt.scoring.evaluation import Evaluation, check_references, evaluate_lines
from nmt.scoring.metrics import EVERY_METRIC, MetricName
from nmt.translation.translator import Translator


def evaluate(
    system: Translator | Sequence[str],
    testset: TestSet,
    lowercase: bool = False,
    training: Sequence[str] = (),
    metrics: Sequence[MetricName] = EVERY_METRIC,
) -> Evaluation:
    """Scores a translator, or finished translations, on a test set.

    Args:
        system: a translator, or its translations of this test set.
        testset: sources and references; `TestSet.read` reads two files.
        lowercase: also compute lower-cased BLEU, for test sets with upper and lower case.
        training: sources of the training data, to report BLEU by distance from them; empty: leave that out.
        metrics: metrics to compute; TER is slow on long translations that are all wrong.

    Raises:
        DataError: the numbers of translations and references differ, or all references are blank.
    """
    check_references(testset)
    with stage(testset.name):
        if not isinstance(system, Translator):
            return evaluate_lines(system, testset, lowercase, training, metrics)
        start = perf_counter()
        hypotheses = system.translate(testset.tagged)
        return evaluate_lines(hypotheses, testset, lowercase, training, metrics, perf_counter() - start)
