"""Results on a test set: translations, scores, and BLEU by source length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nmt.config.recipe import Recipe
from nmt.corpus.lines import text_lines
from nmt.corpus.normalising import as_trained
from nmt.corpus.testset import TestSet
from nmt.corpus.words import count_words
from nmt.errors import DataError, TextError
from nmt.scoring.difficulty import NOVELTY_BUCKETS, RARITY_BUCKETS, novelty, rarity
from nmt.scoring.metrics import EVERY_METRIC, Bucket, MetricName, Score, bleu_by, bleu_by_length, parse_metrics, score
from nmt.scoring.tokenization import check_tokenization, parse_tokenization


@dataclass(frozen=True)
class Evaluation:
    """The results of one system on one test set."""

    testset: TestSet
    hypotheses: list[str]
    scores: list[Score]
    """BLEU, chrF2 and TER; then lower-cased BLEU if wanted."""
    buckets: list[Bucket]
    seconds: float
    """Translation time; 0 if the translations were given."""
    by_difficulty: dict[str, list[Bucket]] = field(default_factory=dict)
    """BLEU by `rarity` and `novelty` (see `nmt.scoring.difficulty`); empty unless wanted."""

    @property
    def length_ratio(self) -> float:
        """Number of words of the translations per word of the references."""
        return _words(self.hypotheses) / max(_words(self.testset.target), 1)

    def as_dict(self) -> dict[str, Any]:
        """Returns the results for JSON, without the sentences."""
        return {
            "testset": self.testset.name,
            "sentences": len(self.hypotheses),
            "scores": [item.as_dict() for item in self.scores],
            "by_length": [asdict(bucket) for bucket in self.buckets],
            **{f"by_{name}": [asdict(item) for item in buckets] for name, buckets in self.by_difficulty.items()},
            "length_ratio": round(self.length_ratio, 3),
            "seconds": round(self.seconds, 2),
        }


def evaluate_lines(
    hypotheses: Sequence[str],
    testset: TestSet,
    lowercase: bool = False,
    training: Sequence[str] = (),
    metrics: MetricName | Sequence[MetricName] = EVERY_METRIC,
    seconds: float = 0.0,
    recipe: Recipe | None = None,
) -> Evaluation:
    """Scores the translations of a test set.

    Args:
        hypotheses: one translation per source of the test set.
        testset: sources and references, and how sacreBLEU splits their words.
        lowercase: also compute lower-cased BLEU, for test sets with upper and lower case.
        training: sources of the training data, to report BLEU by distance from them; empty: leave that out.
        metrics: metrics to compute, or one of them; TER is slow on long translations that are all wrong.
        seconds: translation time, for the report.
        recipe: how sources are written before they are compared with the training data; None: as they are.

    Raises:
        DataError: parts of the test set, or translations and references, differ in number, or all references are blank.
        TextError: something is not text.
        ConfigError: a metric or the tokenisation is unknown.
    """
    check_testset(testset)
    hypotheses, metrics = text_lines(hypotheses), parse_metrics(metrics)
    training = [training] if isinstance(training, str) else training
    tokenize, lower = testset.tokenize, testset.lowercase
    scores = score(hypotheses, testset.target, tokenize=tokenize, lowercase=lower, metrics=metrics)
    if lowercase and not lower:
        scores += score(hypotheses, testset.target, tokenize=tokenize, lowercase=True, metrics=("bleu",))
    buckets = bleu_by_length(testset.source, hypotheses, testset.target, tokenize, lower)
    sources = testset.source
    if training and recipe is not None:
        sources = [as_trained(line, recipe.data.source, recipe.data) for line in sources]
    by_difficulty = {
        name: bleu_by(measure(sources, training), bounds, hypotheses, testset.target, tokenize, lower)
        for name, measure, bounds in (("rarity", rarity, RARITY_BUCKETS), ("novelty", novelty, NOVELTY_BUCKETS))
        if training
    }
    return Evaluation(testset, list(hypotheses), scores, buckets, seconds, by_difficulty)


def check_testset(testset: TestSet) -> None:
    """Refuses a test set that cannot be scored.

    Raises:
        DataError: its parts differ in length, or all references are blank.
        TextError: a side is not a list of text.
        ConfigError: the way to split words is unknown, or needs what is not installed.
    """
    name = testset.name
    for side, lines in (("source", testset.source), ("target", testset.target)):
        if isinstance(lines, str):
            raise TextError(f"{name}: the {side} of a test set must be a list of lines, got str")
        text_lines(lines)
    testset.check(f"the source of {name}", f"the target of {name}")
    if testset.languages and len(testset.languages) != len(testset.source):
        raise DataError(f"{name} has {len(testset.source)} lines but {len(testset.languages)} languages")
    check_tokenization(parse_tokenization(testset.tokenize))
    if testset.target and not any(line.strip() for line in testset.target):
        raise DataError(f"nothing to score: all references of {testset.name} are blank")


def _words(lines: Sequence[str]) -> int:
    return sum(map(count_words, lines))
