"""A study: one recipe with one thing changed at a time, over several seeds, and its results."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from nmt.config.reading import explain_errors, suggestion
from nmt.config.section import FileName, Section
from nmt.config.toml import read_toml
from nmt.errors import ConfigError
from nmt.runtime.atomic import atomic_write, write_json
from nmt.scoring.metrics import Bucket, Score

STUDY, RESULTS = "study.toml", "results"


class System(Section):
    """One system of a study: the recipe with some keys changed."""

    name: FileName
    recipe: str = "recipe.toml"
    """File beside `study.toml`."""
    set: tuple[str, ...] = ()
    """Overrides, as for `--set`."""


class Study(Section):
    """The systems; the others are compared with the first."""

    title: str
    hypotheses: tuple[str, ...] = ()
    """Expected results, written down before the runs."""
    systems: tuple[System, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(default=(1,), min_length=1)
    testset: str
    """The test set of the plot and the significance test."""
    also: tuple[str, ...] = ()
    """Further test sets to score."""
    measure: Literal["bleu", "accuracy"] = "bleu"
    """Measure to plot against length: BLEU, or the share of positions with the right token."""
    pairs: str | None = None
    """Sentences `source ||| target` with gold links, beside `study.toml` or under NMT_DATA, for the alignment error rate."""
    gold: str | None = None

    @property
    def testsets(self) -> list[str]:
        """The test sets, the one of the plot first."""
        return list(dict.fromkeys([self.testset, *self.also]))

    @model_validator(mode="after")
    def _links_have_sentences(self) -> Self:
        if (self.pairs is None) != (self.gold is None):
            raise ValueError("pairs and gold go together: sentences, and their links")
        return self

    @model_validator(mode="after")
    def _runs_are_told_apart(self) -> Self:
        names = [run_name(system, seed).lower() for system in self.systems for seed in self.seeds]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(
                f"two runs would be called {twice}: give each system a name of its own, and each seed once"
            )
        return self

    def only(self, seeds: int | None, systems: Sequence[str]) -> Study:
        """Returns the study with its first seeds alone, and with some of its systems; by default with all of them.

        Raises:
            ConfigError: there is no system of that name.
        """
        known = [system.name for system in self.systems]
        if unknown := [name for name in systems if name not in known]:
            raise ConfigError(f"the study has no system {unknown[0]!r}{suggestion(unknown[0], known)}")
        chosen = tuple(system for system in self.systems if system.name in (systems or known))
        return self.model_copy(update={"seeds": self.seeds[:seeds], "systems": chosen})


def run_name(system: System, seed: int) -> str:
    """Returns the name of a run's folder."""
    return f"{system.name.replace(' ', '-')}-{seed}"


def load_study(folder: Path) -> Study:
    """Loads the study in a folder.

    Raises:
        ConfigError: there is none, or it is invalid.
    """
    path = folder / STUDY
    try:
        return Study.model_validate(read_toml(path))
    except ValidationError as error:
        raise ConfigError(explain_errors(error, Study, f"{path}: ")) from None


@dataclass(frozen=True)
class Run:
    """One system with one seed, trained and scored."""

    system: str
    seed: int
    result: dict[str, Any]
    """The content written by `nmt evaluate --save`."""
    hypotheses: list[str]
    """Translations of the study's test set."""
    buckets: list[Bucket]
    """Buckets by source length on that test set, in the study's measure."""
    error_rate: float | None
    """Alignment error rate of the best layer, in percent."""

    @property
    def milliseconds(self) -> float:
        """Milliseconds of training per update, without validations."""
        seconds = int(self.result["target_tokens"]) / max(float(self.result["tokens_per_second"]), 1.0)
        return 1000 * seconds / max(int(self.result["updates"]), 1)

    @property
    def score(self) -> Score:
        """BLEU of the study's test set, which is scored first."""
        return Score(**self.result["evaluations"][0]["scores"][0])


@dataclass(frozen=True)
class Row:
    """A system, averaged over its seeds."""

    system: str
    seeds: int
    parameters: int
    score: float
    """BLEU, or accuracy in percent: the mean over the seeds."""
    deviation: float
    """Standard deviation over the seeds; 0 for one seed."""
    p_value: float | None
    """p-value against the first system, by paired bootstrap over the test set of all seeds; None for the first."""
    milliseconds: float
    """Milliseconds of training per update, without validations: the mean over the seeds."""
    error_rate: float | None
    """Alignment error rate in percent: the mean over the seeds."""


def summarise(study: Study, runs: Sequence[Run], p_values: dict[str, float | None]) -> list[Row]:
    """Returns a row for each system, in the order of the study."""
    rows: list[Row] = []
    for system in study.systems:
        own = [run for run in runs if run.system == system.name]
        scores = [_value(study, run) for run in own]
        rates = [run.error_rate for run in own if run.error_rate is not None]
        rows.append(
            Row(
                system.name,
                len(own),
                int(own[0].result["parameters"]),
                mean(scores),
                stdev(scores) if len(scores) > 1 else 0.0,
                p_values.get(system.name),
                mean(run.milliseconds for run in own),
                mean(rates) if rates else None,
            )
        )
    return rows


def write_results(folder: Path, study: Study, runs: Sequence[Run], rows: Sequence[Row]) -> None:
    """Writes `results.json` with every figure, and `results.csv` with a line for each run and bucket."""
    details = [
        {
            "system": run.system,
            "seed": run.seed,
            "alignment_error_rate": run.error_rate,
            "buckets": [asdict(bucket) for bucket in run.buckets],
            **{key: value for key, value in run.result.items() if key not in ("name", "seed")},
        }
        for run in runs
    ]
    content = {
        "title": study.title,
        "hypotheses": study.hypotheses,
        "rows": [vars(row) for row in rows],
        "runs": details,
    }
    write_json(folder / f"{RESULTS}.json", content)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["system", "seed", "testset", "measure", "from", "to", "sentences", "value", "low", "high"])
    for run in runs:
        for item in run.result["evaluations"]:
            score, count = Score(**item["scores"][0]), item["sentences"]
            whole = ["bleu", "", "", count, *(round(value, 3) for value in (score.value, score.low, score.high))]
            table.writerow([run.system, run.seed, item["testset"], *whole])
        for bucket in run.buckets:
            score, bounds = bucket.score, [bucket.low, bucket.high, bucket.sentences]
            values = [round(value, 3) for value in (score.value, score.low, score.high)]
            table.writerow([run.system, run.seed, study.testset, study.measure, *bounds, *values])
    atomic_write(folder / f"{RESULTS}.csv", text.getvalue().encode())


def more_results(folder: Path, study: Study, runs: Sequence[Run]) -> str:
    """Returns the runs of a study that the results in a folder have beside these, for people; empty: none."""
    try:
        content = json.loads((folder / f"{RESULTS}.json").read_text(encoding="utf-8"))
        found = {(run["system"], run["seed"]) for run in content["runs"]}
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    planned = {(system.name, seed) for system in study.systems for seed in study.seeds}
    others = (found & planned) - {(run.system, run.seed) for run in runs}
    return ", ".join(f"{system} (seed {seed})" for system, seed in sorted(others))


def averaged(study: Study, runs: Sequence[Run]) -> dict[str, list[Bucket]]:
    """Averages the buckets, scores and interval ends of each system over the seeds."""
    found: dict[str, list[Bucket]] = {}
    for system in study.systems:
        parts = zip(*(run.buckets for run in runs if run.system == system.name), strict=True)
        found[system.name] = [_mean_bucket(buckets) for buckets in parts]
    return found


def _value(study: Study, run: Run) -> float:
    if study.measure == "bleu":
        return run.score.value
    sizes = sum(bucket.sentences for bucket in run.buckets)
    return sum(bucket.score.value * bucket.sentences for bucket in run.buckets) / max(sizes, 1)


def _mean_bucket(buckets: Sequence[Bucket]) -> Bucket:
    first = buckets[0]
    value, low, high = (mean(getattr(bucket.score, name) for bucket in buckets) for name in ("value", "low", "high"))
    score = Score(first.score.metric, value, low, high, first.score.signature)
    return Bucket(first.low, first.high, first.sentences, score)
