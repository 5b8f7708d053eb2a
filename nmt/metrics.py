"""BLEU, chrF2 and TER through sacreBLEU, each with its signature and a bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

from sacrebleu.metrics import BLEU, CHRF, TER

from nmt.errors import ConfigError, DataError

MetricName = Literal["bleu", "chrf2", "ter"]
Tokenization = Literal["13a", "none", "intl", "char", "zh", "ja-mecab", "ko-mecab", "flores200"]

LENGTH_BUCKETS = ((1, 5), (6, 10), (11, 15), (16, 20), (21, 25), (26, 30), (31, 35), (36, 40), (41, 60), (61, 10_000))
"""Source lengths in words, ends included."""


@dataclass(frozen=True)
class Score:
    """A corpus score that says how it was made."""

    metric: MetricName
    value: float
    low: float
    """Lower end of the 95 % bootstrap interval."""
    high: float
    signature: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.metric} {self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


@dataclass(frozen=True)
class Bucket:
    """BLEU of the sentences whose source has between `low` and `high` words."""

    low: int
    high: int
    sentences: int
    bleu: Score


def parse_tokenization(name: str) -> Tokenization:
    """The name of one of sacreBLEU's tokenisations.

    Raises:
        ConfigError: it is none.
    """
    if name not in get_args(Tokenization):
        raise ConfigError(f"--tokenize must be one of {', '.join(get_args(Tokenization))}, got {name}")
    return cast(Tokenization, name)


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    tokenize: Tokenization = "13a",
    lowercase: bool = False,
    metrics: Sequence[MetricName] = ("bleu", "chrf2", "ter"),
    resamples: int = 1000,
) -> list[Score]:
    """Corpus scores with 95 % bootstrap intervals (Koehn 2004).

    Raises:
        DataError: the two sides differ in length (sacreBLEU alone would score the shorter), or are empty.
    """
    _check(hypotheses, references)
    return [_score_one(metric, hypotheses, references, tokenize, lowercase, resamples) for metric in metrics]


def bleu(hypotheses: Sequence[str], references: Sequence[str], lowercase: bool = False) -> float:
    """BLEU without an interval, for validation during training."""
    _check(hypotheses, references)
    return float(BLEU(lowercase=lowercase).corpus_score(list(hypotheses), [list(references)]).score)


def bleu_by_length(
    sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str], tokenize: Tokenization = "13a"
) -> list[Bucket]:
    """BLEU by source length in words; buckets without sentences are left out."""
    _check(hypotheses, references)
    buckets: list[Bucket] = []
    for low, high in LENGTH_BUCKETS:
        rows = [row for row, source in enumerate(sources) if low <= len(source.split()) <= high]
        if rows:
            chosen, expected = ([side[row] for row in rows] for side in (hypotheses, references))
            buckets.append(Bucket(low, high, len(rows), score(chosen, expected, tokenize=tokenize, metrics=("bleu",))[0]))
    return buckets


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references):
        raise DataError(f"{len(hypotheses)} translations but {len(references)} references: they must be as many")
    if not hypotheses:
        raise DataError("nothing to score: the test set is empty")


def _score_one(
    metric: MetricName,
    hypotheses: Sequence[str],
    references: Sequence[str],
    tokenize: Tokenization,
    lowercase: bool,
    resamples: int,
) -> Score:
    match metric:
        case "bleu":
            scorer = BLEU(tokenize=tokenize, lowercase=lowercase)
        case "chrf2":
            scorer = CHRF(lowercase=lowercase)
        case "ter":
            scorer = TER(case_sensitive=not lowercase)
    result = scorer.corpus_score(list(hypotheses), [list(references)], n_bootstrap=resamples)
    middle, margin = float(result.mean or result.score), float(result.ci or 0.0)
    # The signature of the score itself: `nmt` prints the value over the whole test set, as sacreBLEU's command does.
    signature = str(scorer.get_signature())
    return Score(metric, float(result.score), middle - margin, middle + margin, signature)
