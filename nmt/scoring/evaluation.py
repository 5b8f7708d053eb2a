"""Results on a test set: translations, scores, and BLEU by source length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nmt.corpus.testset import TestSet
from nmt.corpus.words import count_words
from nmt.errors import DataError
from nmt.scoring.difficulty import NOVELTY_BUCKETS, RARITY_BUCKETS, novelty, rarity
from nmt.scoring.metrics import EVERY_METRIC, Bucket, MetricName, Score, bleu_by, bleu_by_length, score


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
    metrics: Sequence[MetricName] = EVERY_METRIC,
    seconds: float = 0.0,
) -> Evaluation:
    """Scores the translations of a test set.

    Args:
        hypotheses: one translation per source of the test set.
        testset: sources and references, and how sacreBLEU splits their words.
        lowercase: also compute lower-cased BLEU, for test sets with upper and lower case.
        training: sources of the training data, to report BLEU by distance from them; empty: leave that out.
        metrics: metrics to compute; TER is slow on long translations that are all wrong.
        seconds: translation time, for the report.

    Raises:
        DataError: the numbers of translations and references differ, or all references are blank.
    """
    check_references(testset)
    tokenize, lower = testset.tokenize, testset.lowercase
    scores = score(hypotheses, testset.target, tokenize=tokenize, lowercase=lower, metrics=metrics)
    if lowercase and not lower:
        scores += score(hypotheses, testset.target, tokenize=tokenize, lowercase=True, metrics=("bleu",))
    buckets = bleu_by_length(testset.source, hypotheses, testset.target, tokenize, lower)
    by_difficulty = {
        name: bleu_by(measure(testset.source, training), bounds, hypotheses, testset.target, tokenize, lower)
        for name, measure, bounds in (("rarity", rarity, RARITY_BUCKETS), ("novelty", novelty, NOVELTY_BUCKETS))
        if training
    }
    return Evaluation(testset, list(hypotheses), scores, buckets, seconds, by_difficulty)


def check_references(testset: TestSet) -> None:
    """Refuses a test set without text in its references.

    Raises:
        DataError: all references are blank.
    """
    if testset.target and not any(line.strip() for line in testset.target):
        raise DataError(f"nothing to score: all references of {testset.name} are blank")


def _words(lines: Sequence[str]) -> int:
    return sum(map(count_words, lines))
