"""Translates a test set and scores what comes out."""

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
    """Scores a translator, or translations that exist already, on a test set.

    Args:
        system: a translator, or its lines for this test set.
        testset: sources and references; `TestSet.read` reads two files.
        lowercase: score lower-cased BLEU too, where the scores of the test set are of mixed case.
        training: sources of the training data, for BLEU by how far a sentence is from them; none: leave that out.
        metrics: wanted; TER takes its time over long translations that are all wrong.

    Raises:
        DataError: there are not as many translations as references, or all references are blank.
    """
    check_references(testset)
    with stage(testset.name):
        if not isinstance(system, Translator):
            return evaluate_lines(system, testset, lowercase, training, metrics)
        start = perf_counter()
        hypotheses = system.translate(testset.tagged)
        return evaluate_lines(hypotheses, testset, lowercase, training, metrics, perf_counter() - start)
