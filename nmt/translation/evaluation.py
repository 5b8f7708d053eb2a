"""Translates a test set and scores the translations."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from nmt.config.recipe import Recipe
from nmt.corpus.testset import TestSet
from nmt.runtime.stages import stage
from nmt.scoring.evaluation import Evaluation, check_testset, evaluate_lines
from nmt.scoring.metrics import EVERY_METRIC, MetricName, parse_metrics
from nmt.translation.translator import Translator


def evaluate(
    system: Translator | Sequence[str],
    testset: TestSet,
    lowercase: bool = False,
    training: Sequence[str] = (),
    metrics: MetricName | Sequence[MetricName] = EVERY_METRIC,
    recipe: Recipe | None = None,
) -> Evaluation:
    """Scores a translator, or finished translations, on a test set.

    Args:
        system: a translator, or its translations of this test set.
        testset: sources and references; `TestSet.read` reads two files.
        lowercase: also compute lower-cased BLEU, for test sets with upper and lower case.
        training: sources of the training data, to report BLEU by distance from them; empty: leave that out.
        metrics: metrics to compute, or one of them; TER is slow on long translations that are all wrong.
        recipe: how sources are written before they are compared with `training`; None: as a translator reads them.

    Raises:
        DataError: parts of the test set, or translations and references, differ in number, or all references are blank.
        TextError: something is not text.
        ConfigError: a metric or the tokenisation is unknown.
    """
    check_testset(testset)
    metrics = parse_metrics(metrics)  # before the work
    with stage(testset.name):
        if not isinstance(system, Translator):
            return evaluate_lines(system, testset, lowercase, training, metrics, recipe=recipe)
        start = perf_counter()
        hypotheses = system.translate(testset.tagged)
        seconds, recipe = perf_counter() - start, recipe or system.recipe
        return evaluate_lines(hypotheses, testset, lowercase, training, metrics, seconds, recipe)
