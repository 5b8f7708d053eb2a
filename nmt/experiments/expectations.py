"""Expected scores of recipes, and whether runs meet them."""

from __future__ import annotations

import codecs
from pathlib import Path
from statistics import fmean
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from nmt.config.reading import explain_errors
from nmt.config.section import Section
from nmt.errors import ConfigError
from nmt.runtime.untrusted import read_object, read_regular
from nmt.scoring.evaluation import Evaluation

EXPECTED = "expected.json"


class Expectation(Section):
    """An expected score on a test set, and how far below it a run may be."""

    testset: str
    signature: str
    """sacreBLEU's signature of the score, without its version."""
    mean: Annotated[float, Field(ge=0, le=100)]
    """Mean over seeds, or the published score."""
    band: Annotated[float, Field(ge=0)]
    """A run passes at `mean - band` or above."""
    origin: str
    """Source of the figure: a paper and its table, or `measured here`."""
    seeds: tuple[int, ...] = ()
    """Seeds of the runs here that the mean is over; empty for a published figure."""
    commit: str | None = None
    """Commit of the code of these runs."""

    def is_met(self, score: float) -> bool:
        """Whether a score is not below the band."""
        return score >= self.mean - self.band


class Verdict(Section):
    """An expectation with the score of a run."""

    expectation: Expectation
    score: float
    passed: bool


def load_expectations(folder: Path) -> list[Expectation]:
    """Loads the expectations of a recipe's folder; none if it has no `expected.json`.

    Raises:
        ConfigError: the file is invalid.
    """
    path = folder / EXPECTED
    if not path.exists():
        return []
    try:
        return _EXPECTATIONS.validate_json(read_regular(path).removeprefix(codecs.BOM_UTF8))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        raise ConfigError(explain_errors(error, Expectation, f"{path}: ")) from None


def judge(expectations: list[Expectation], evaluations: list[Evaluation]) -> list[Verdict]:
    """Compares each expectation with the score of the same signature.

    Raises:
        ConfigError: no score has that signature.
    """
    found = _EVALUATIONS.validate_python([evaluation.as_dict() for evaluation in evaluations])
    verdicts: list[Verdict] = []
    for expectation in expectations:
        score = _score(expectation, found)
        if score is None:
            raise ConfigError(
                f"{EXPECTED}: no score on {expectation.testset} has the signature {expectation.signature}"
            )
        verdicts.append(Verdict(expectation=expectation, score=score, passed=expectation.is_met(score)))
    return verdicts


def state(folder: Path) -> str:
    """Returns whether a recipe was run, and whether the mean over its runs meets the expectations.

    The result of the first run is in the folder itself, those of other seeds in `seedN/`.
    """
    expectations = load_expectations(folder)
    if (folder / "study.toml").exists():
        return "study, run here" if (folder / "results.json").exists() else "study, not yet run"
    paths = [path for path in (folder / "result.json", *folder.glob("seed*/result.json")) if path.exists()]
    if not paths:
        return "expected from the literature" if expectations else "not yet run"
    seeds = f", {len(paths)} seeds" if len(paths) > 1 else ""
    if not expectations:
        return f"run here{seeds}"
    runs = [_evaluations(path) for path in paths]
    met = all(_meets(expectation, runs) for expectation in expectations)
    return ("reproduced here" if met else "run here, below what is expected") + seeds


class _Recorded(TypedDict):
    """The needed fields of a saved score."""

    signature: str
    value: float


class _Scored(TypedDict):
    """The needed fields of a saved evaluation."""

    testset: str
    scores: list[_Recorded]


_EXPECTATIONS, _EVALUATIONS = TypeAdapter(list[Expectation]), TypeAdapter(list[_Scored])


def _evaluations(path: Path) -> list[_Scored]:
    """Reads the scores of a `result.json`.

    Raises:
        NmtError: the file is invalid.
    """
    try:
        return _EVALUATIONS.validate_python(read_object(path).get("evaluations"))
    except ValidationError as error:
        raise ConfigError(explain_errors(error, Expectation, f"{path}: evaluations: ")) from None


def _meets(expectation: Expectation, runs: list[list[_Scored]]) -> bool:
    """Whether the mean over saved runs meets an expectation; every run must have that score."""
    scores = [_score(expectation, evaluations) for evaluations in runs]
    found = [score for score in scores if score is not None]
    return len(found) == len(runs) and expectation.is_met(fmean(found))


def _score(expectation: Expectation, evaluations: list[_Scored]) -> float | None:
    """Returns the score that an expectation is about; None: there is none."""
    for evaluation in evaluations:
        for score in evaluation["scores"]:
            if evaluation["testset"] == expectation.testset and _same(score["signature"], expectation.signature):
                return float(score["value"])
    return None


def _same(signature: str, expected: str) -> bool:
    """Whether two signatures name the same score; versions and interval settings may differ."""
    return _core(signature) == _core(expected)


def _core(signature: str) -> frozenset[str]:
    parts = signature.split("|")
    return frozenset(part for part in parts if not part.startswith(("version", "bs:", "seed:")))
