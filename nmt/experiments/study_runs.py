"""The runs of a study: what each is made from, whether it is done, and what it has come to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sacrebleu

from nmt import __version__
from nmt.config.reading import load_recipe
from nmt.config.toml import toml_text
from nmt.corpus.lines import read_lines
from nmt.corpus.testset import TestSet
from nmt.errors import ConfigError
from nmt.experiments.study import Run, Study, System
from nmt.runtime.files import file_sha256, fingerprint
from nmt.scoring.accuracy import accuracy_by_length
from nmt.scoring.metrics import Bucket, Score
from nmt.scoring.significance import paired_accuracy, paired_test
from nmt.storage.manifest import folder_damage

ALIGNMENT = "alignment.json"


@dataclass(frozen=True)
class TrainingTask:
    """One system with one seed, and its run folder."""

    folder: Path
    plan: Study
    system: System
    seed: int
    run: Path
    overrides: Sequence[str]

    @property
    def recipe(self) -> Path:
        """File of the recipe that the study changes."""
        return self.folder / self.system.recipe

    @property
    def changes(self) -> list[str]:
        """The changes to the recipe."""
        return [
            f"name={toml_text(self.system.name)}",
            f"seed={self.seed}",
            *self.system.set,
            *self.overrides,
        ]

    @property
    def results(self) -> Path:
        """Folder of translations and scores."""
        return self.run / "results"


@dataclass(frozen=True)
class Material:
    """The data that a system is trained on and scored with."""

    corpus: str
    """Fingerprint of the corpus."""
    testsets: list[TestSet]
    gold: list[Path]
    """Sentences and their links, if alignments are scored; else empty."""

    def origin(self, task: TrainingTask) -> str:
        """Returns the fingerprint of everything that decides on the result of a task."""
        return fingerprint(
            {
                "recipe": load_recipe(task.recipe, task.changes).model_dump(mode="json"),
                "corpus": self.corpus,
                "testsets": [vars(testset) for testset in self.testsets],
                "gold": [file_sha256(path) for path in self.gold],
                "versions": [__version__, sacrebleu.__version__],
            }
        )


def check_alike(materials: Mapping[str, Material]) -> None:
    """Refuses systems that would be scored on different sentences, such as held-out ones of another choice of data.

    Raises:
        ConfigError: two systems differ.
    """
    (first, material), *others = materials.items()
    for name, other in others:
        for one, two in zip(material.testsets, other.testsets, strict=True):
            parts = [
                key for key in ("source", "target", "tokenize", "lowercase") if getattr(one, key) != getattr(two, key)
            ]
            if parts:
                raise ConfigError(
                    f"{first} and {name} cannot be compared: their test set {one.name} differs in {', '.join(parts)}"
                )


def is_done(task: TrainingTask, material: Material) -> bool:
    """Whether the same was trained and scored before."""
    return not folder_damage(task.results, thorough=True, origin=material.origin(task))


def read_run(task: TrainingTask, testset: TestSet) -> Run:
    """Reads what a task has come to."""
    plan, results = task.plan, task.results
    result: dict[str, Any] = json.loads((results / "result.json").read_text(encoding="utf-8"))
    lines = read_lines(results / f"{testset.name}.hypothesis")
    if plan.measure == "accuracy":
        buckets = accuracy_by_length(testset.source, lines, testset.target)
    else:
        evaluation = next(item for item in result["evaluations"] if item["testset"] == testset.name)
        buckets = [
            Bucket(item["low"], item["high"], item["sentences"], Score(**item.get("score", item.get("bleu"))))
            for item in evaluation["by_length"]  # a run of an earlier version says bleu
        ]
    rate = None
    if (results / ALIGNMENT).exists():
        rates = json.loads((results / ALIGNMENT).read_text(encoding="utf-8"))
        rate = min(item["error_rate"] for item in rates if item["links"] != "diagonal")
    return Run(task.system.name, task.seed, result, lines, buckets, rate)


def p_values(plan: Study, runs: Sequence[Run], testset: TestSet) -> dict[str, float | None]:
    """Returns the p-value of each system against the first, over the test set once per seed."""
    joined = {
        system.name: [line for run in runs if run.system == system.name for line in run.hypotheses]
        for system in plan.systems
    }
    if len(joined) < 2:
        return {}
    references = testset.target * len(plan.seeds)
    if plan.measure == "accuracy":
        return dict(paired_accuracy(joined, references))
    found = paired_test(joined, references, tokenize=testset.tokenize, lowercase=testset.lowercase, metrics=("bleu",))
    return {item.system: item.p_value for item in found}
