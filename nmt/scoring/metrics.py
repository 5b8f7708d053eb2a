"""BLEU, chrF2 and TER through sacreBLEU, each with its signature and a bootstrap interval."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from nmt.config.data import Tokenization
from nmt.config.reading import suggestion
from nmt.corpus.lines import text_lines
from nmt.corpus.words import count_words
from nmt.errors import ConfigError, DataError
from nmt.runtime.stages import counted, stage
from nmt.scoring.tokenization import check_tokenization, parse_tokenization

MetricName = Literal["bleu", "chrf2", "ter"]
EVERY_METRIC: tuple[MetricName, ...] = get_args(MetricName)
RESAMPLES = 1000
"""Number of bootstrap resamples for the 95 % interval."""

LENGTH_BUCKETS = ((1, 5), (6, 10), (11, 15), (16, 20), (21, 25), (26, 30), (31, 35), (36, 40), (41, 60), (61, 10_000))
"""Ranges of source lengths in words, both ends included."""


@dataclass(frozen=True)
class Score:
    """A corpus score with its sacreBLEU signature."""

    metric: MetricName | Literal["accuracy", "comet"]
    value: float
    low: float
    """Lower end of the 95 % bootstrap interval."""
    high: float
    signature: str

    def as_dict(self) -> dict[str, Any]:
        """Returns the score for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.metric} {self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


@dataclass(frozen=True)
class Bucket:
    """The score of the sentences whose measure, for example source length in words, is from `low` to `high`."""

    low: int
    high: int
    sentences: int
    score: Score

    @property
    def centre(self) -> float:
        """Position of the bucket in a plot; the last bucket has no meaningful upper end."""
        return (self.low + min(self.high, self.low + 20)) / 2


def parse_metrics(names: str | Sequence[str]) -> list[MetricName]:
    """Checks the names of metrics, or one name; each counts once. Raises ConfigError for an unknown one."""
    found = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    for name in found:
        if name not in EVERY_METRIC:
            hint = suggestion(str(name), EVERY_METRIC)
            raise ConfigError(f"metric must be one of {', '.join(EVERY_METRIC)}, got {name}{hint}")
    return [metric for name in found for metric in EVERY_METRIC if metric == name]


def resampling_seed() -> int | None:
    """Returns the seed of bootstrap and randomisation, from SACREBLEU_SEED or sacreBLEU's default; `none`: random.

    Raises:
        ConfigError: SACREBLEU_SEED is not a whole number of 32 bits.
    """
    text = os.environ.get("SACREBLEU_SEED", "12345")
    if text.lower() == "none":
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) >= 2**32:
        raise ConfigError(f"SACREBLEU_SEED must be a whole number below 2^32 or none, got {text[:20]!r}")
    return int(text)


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    tokenize: Tokenization = "13a",
    lowercase: bool = False,
    metrics: MetricName | Sequence[MetricName] = EVERY_METRIC,
    resamples: int = RESAMPLES,
) -> list[Score]:
    """Computes corpus scores with 95 % bootstrap intervals (Koehn 2004), each with its sacreBLEU signature.

    Args:
        hypotheses: translations, one per segment; a text is one segment.
        references: reference translations, one per segment; a text is one segment.
        tokenize: sacreBLEU's tokenisation for BLEU.
        lowercase: compare lower-cased text.
        metrics: metrics to compute, in this order, or one of them.
        resamples: number of bootstrap resamples; 1: no interval.

    Raises:
        DataError: the two sides differ in length (sacreBLEU alone would score the shorter), or are empty.
        TextError: a side is not text.
        ConfigError: a metric or the tokenisation is unknown, or it needs what is not installed; or no number of resamples.
    """
    hypotheses, references = text_lines(hypotheses), text_lines(references)
    check_lines(hypotheses, references)
    wanted = parse_metrics(metrics)
    parse_tokenization(tokenize)
    if "bleu" in wanted:
        check_tokenization(tokenize)
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1, got {resamples}")
    resampling_seed()
    return [_score_one(metric, hypotheses, references, tokenize, lowercase, resamples) for metric in wanted]


def bleu(hypotheses: Sequence[str], references: Sequence[str], tokenize: Tokenization = "13a") -> float:
    """Computes BLEU without an interval and without warnings about tokenised text, for validation during training."""
    check_lines(hypotheses, references)
    return float(BLEU(tokenize=tokenize, force=True).corpus_score(list(hypotheses), [list(references)]).score)


def chrf2(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Computes chrF2 without an interval, for validation during training."""
    check_lines(hypotheses, references)
    return float(CHRF().corpus_score(list(hypotheses), [list(references)]).score)


def bleu_by_length(
    sources: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[str],
    tokenize: Tokenization = "13a",
    lowercase: bool = False,
) -> list[Bucket]:
    """Computes BLEU by source length in words; buckets without sentences are left out."""
    lengths = list(map(count_words, sources))
    return bleu_by(lengths, LENGTH_BUCKETS, hypotheses, references, tokenize, lowercase)


def bleu_by(
    measures: Sequence[int],
    bounds: Sequence[tuple[int, int]],
    hypotheses: Sequence[str],
    references: Sequence[str],
    tokenize: Tokenization = "13a",
    lowercase: bool = False,
) -> list[Bucket]:
    """Computes BLEU of the sentences within each pair of bounds, both included; empty buckets are left out."""
    check_lines(hypotheses, references)
    buckets: list[Bucket] = []
    for low, high in bounds:
        rows = [row for row, measure in enumerate(measures) if low <= measure <= high]
        if rows:
            chosen, expected = ([side[row] for row in rows] for side in (hypotheses, references))
            found = score(chosen, expected, tokenize=tokenize, lowercase=lowercase, metrics=("bleu",))[0]
            buckets.append(Bucket(low, high, len(rows), found))
    return buckets


class Watched(list[str]):
    """Lines that show progress while sacreBLEU iterates over them."""

    def __init__(self, lines: Sequence[str], text: str) -> None:
        super().__init__(lines)
        self._text = text

    def __iter__(self) -> Iterator[str]:
        return counted(super().__iter__(), self._text, len(self))


class Scorer(Metric):
    """Exposes the statistics of a sacreBLEU metric: numbers per sentence, and the score of their sums."""

    def rows(self, lines: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
        """Returns one row of statistics per sentence."""
        watched = Watched(lines, "comparing with references")
        return np.array(self._extract_corpus_statistics(watched, [list(references)]), dtype=np.float64)

    def score_of(self, sums: NDArray[np.float64]) -> float:
        """Returns the score of summed rows."""
        return float(self._compute_score_from_stats(sums.tolist()).score)

    def scores_of(self, sums: NDArray[np.float64]) -> list[float]:
        """Returns the score of each row of sums."""
        return [self.score_of(row) for row in sums]


class _PlainFloats(Scorer):
    """Converts statistics to Python floats: sacreBLEU 2.6 cannot mix them with NumPy's in resamples without reference words."""

    def _compute_score_from_stats(self, stats: Sequence[float]) -> Any:
        return super()._compute_score_from_stats([float(value) for value in stats])  # type: ignore[safe-super]


class _Bleu(Scorer, BLEU): ...


class _Chrf(_PlainFloats, CHRF): ...


class _Ter(_PlainFloats, TER): ...


@dataclass(frozen=True)
class MetricKind:
    """Describes a metric; add one of these for a new metric."""

    title: str
    """Name in tables."""
    most: float
    """The largest possible score."""
    corpus: Callable[[Tokenization, bool], Scorer]
    """Makes a scorer of whole texts, for a tokenisation and whether case is ignored."""
    sentence: Callable[[Tokenization], Metric]
    """Makes a scorer of single sentences."""


def title_of(metric: str) -> str:
    """Returns the name of a metric in tables."""
    return next((kind.title for name, kind in METRICS.items() if name == metric), metric)


def _bleu(tokenize: Tokenization, lowercase: bool) -> Scorer:
    """Makes a BLEU scorer; without tokenisation it does not warn about tokenised text."""
    return _Bleu(tokenize=tokenize, lowercase=lowercase, force=tokenize == "none")


METRICS: Mapping[MetricName, MetricKind] = {
    "bleu": MetricKind("BLEU", 100.0, _bleu, lambda tokenize: BLEU(effective_order=True, tokenize=tokenize)),
    "chrf2": MetricKind("chrF2", 100.0, lambda _, lowercase: _Chrf(lowercase=lowercase), lambda _: CHRF()),
    # sacreBLEU's TER ignores case by default.
    "ter": MetricKind("TER", float("inf"), lambda _, __: _Ter(), lambda _: TER()),
}


def check_lines(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    """Refuses lines that cannot be scored.

    Raises:
        DataError: the two differ in number, or there are none.
    """
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
    kind = METRICS[metric]
    scorer = kind.corpus(tokenize, lowercase)
    with stage(f"scoring by {kind.title}"):
        lines = Watched(hypotheses, "comparing with references")
        result = scorer.corpus_score(lines, [list(references)], n_bootstrap=resamples)
    signature = str(scorer.get_signature())
    details = json.loads(result.format(width=6, signature=signature, is_json=True))
    value = float(result.score)
    # sacreBLEU's interval lies around the mean of the resamples, and is missing if all are equal. With a few sentences it
    # exceeds the range of possible scores.
    middle, margin = details.get("confidence_mean", value), details.get("confidence_var", 0.0)
    low, high = max(0.0, middle - margin), min(kind.most, middle + margin)
    return Score(metric, value, min(value, low), max(value, high), signature)
