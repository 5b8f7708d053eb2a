"""Self-contained HTML pages about runs: no network, light and dark, readable on a phone. The templates lie in `templates/`."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nmt import __version__
from nmt.corpus.words import join_words, split_words
from nmt.report.health import findings
from nmt.report.material import Example, RunMaterial
from nmt.report.pictures import FEWEST
from nmt.scoring.evaluation import Evaluation
from nmt.scoring.metrics import title_of

_MOST = 400  # points of a curve: more than a screen can show

Part = tuple[str, str]
"""A tag, or none, and the text in it."""
Log = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Chart:
    """Curves over updates or words; `charts.js` draws them."""

    title: str
    x: str
    series: dict[str, list[tuple[float, float]]]
    """Points by name."""
    zero: bool = False
    """Whether the vertical axis begins at 0, as it does for scores."""


def render(runs: Sequence[RunMaterial]) -> str:
    """Returns the page about runs of one corpus as text. Everything from a corpus, a recipe or a model is escaped."""
    data = runs[0].data
    logs = {run.name: run.log for run in runs}
    return write_page(
        "runs.html",
        title=" · ".join(run.name for run in runs),
        subtitle=_subtitle(data),
        runs=runs,
        systems=[_system(run) for run in runs],
        scores=[_scores(runs, index) for index in range(len(runs[0].evaluations))],
        training=training_charts(logs),
        findings=found_in(logs),
        lengths=[_lengths(runs, index) for index in range(len(runs[0].evaluations))],
        fewest=FEWEST,
        data=data,
        leaks=[_leak(leak) for leak in data["found_in_train"]],
        leaked=sum(leak["pairs_normalised"] for leak in data["found_in_train"] if leak["testset"] != "valid"),
    )


def write_page(template: str, **values: Any) -> str:
    """Fills a template of `templates/`; all values are escaped."""
    return _templates().get_template(template).render(version=__version__, **values)


def training_charts(logs: Mapping[str, Log]) -> list[Chart]:
    """Returns the curves of trainings by the name of the run, from the entries of their logs."""
    wanted = [
        ("train", "loss", "training loss per token", False),
        ("validation", "loss", "validation loss per token", False),
        ("validation", "bleu", "validation BLEU (greedy)", True),
        ("train", "learning_rate", "learning rate", True),
        ("train", "gradient_norm", "gradient norm before clipping", True),
        ("train", "tokens_per_second", "target tokens per second", True),
    ]
    return [
        Chart(
            title,
            "updates",
            {
                name: thinned((entry["step"], entry[key]) for entry in log if entry["kind"] == kind and key in entry)
                for name, log in logs.items()
            },
            zero,
        )
        for kind, key, title, zero in wanted
    ]


def found_in(logs: Mapping[str, Log]) -> list[dict[str, Any]]:
    """Returns what is to be said about the health of trainings, by run."""
    return [{"run": name, **asdict(finding)} for name, log in logs.items() for finding in findings(log)]


def thinned(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns at most some hundred points of a curve, the last one among them; what is not finite is left out."""
    kept = [(x, float(f"{y:.5g}")) for x, y in points if math.isfinite(y)]
    stride = -(-len(kept) // _MOST) or 1
    return kept[::-1][::stride][::-1]


def dropped_pairs(examples: Mapping[str, Sequence[Sequence[str]]]) -> str:
    """Returns the part of the page with examples of dropped pairs, folded away; empty if there are none."""
    parts: Any = _templates().get_template("parts.html").module
    return str(parts.dropped(examples)).strip()


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("nmt.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "default": asdict}
    environment.filters |= {"number": _number, "differences": _differences, "indented": _indented}
    return environment


def _subtitle(data: Mapping[str, Any]) -> str:
    synthetic = ", synthetic" if data.get("synthetic") else ""
    direction = f"{data['source']} to {data['target']}"
    return f"{data['corpus']}{synthetic}, {direction}, {data['train']['kept']:,} training pairs"


def _system(run: RunMaterial) -> list[str]:
    card, seconds = run.card, run.card.get("seconds")
    figures = [_number(card.get(key)) for key in ("parameters", "target_tokens", "tokens_per_second")]
    trained = f"{seconds / 60:,.1f} min" if isinstance(seconds, (int, float)) else "-"
    return [run.name, run.family, figures[0], trained, *figures[1:], str(card.get("device", "-"))]


def _scores(runs: Sequence[RunMaterial], index: int) -> dict[str, Any]:
    """Returns the table of scores on one test set."""
    first = runs[0].evaluations[index]
    return {
        "title": f"{first.testset.name}, {len(first.hypotheses):,} sentences, 95 % bootstrap intervals",
        "head": ["run", *(title_of(score.metric) for score in first.scores), "translated in"],
        "rows": [[run.name, *_cells(run.evaluations[index])] for run in runs],
        "signatures": [f"{title_of(score.metric)}: {score.signature}" for score in first.scores],
    }


def _cells(evaluation: Evaluation) -> list[str]:
    scores = [f"{score.value:.1f} [{score.low:.1f}, {score.high:.1f}]" for score in evaluation.scores]
    return [*scores, f"{evaluation.seconds:.1f} s"]


def _lengths(runs: Sequence[RunMaterial], index: int) -> Chart:
    """Returns the curves of BLEU over source length on one test set."""
    series = {
        run.name: thinned(
            (bucket.centre, bucket.bleu.value)
            for bucket in run.evaluations[index].buckets
            if bucket.sentences >= FEWEST
        )
        for run in runs
    }
    return Chart(f"BLEU, {runs[0].evaluations[index].testset.name}", "source length in words", series, zero=True)


def _leak(leak: Mapping[str, Any]) -> list[str]:
    counts = (leak[f"{what}_{how}"] for what in ("pairs", "source", "target") for how in ("exact", "normalised"))
    return [leak["testset"], f"{leak['sentences']:,}", *map(str, counts)]


def _differences(example: Example) -> tuple[list[Part], list[Part]]:
    """Returns the parts of reference and translation, with the tag of those that differ."""
    left, right = split_words(example.reference), split_words(example.hypothesis)
    sides: tuple[list[Part], list[Part]] = ([], [])
    for kind, start, end, other_start, other_end in difflib.SequenceMatcher(None, left, right, False).get_opcodes():
        for side, words, tag in ((0, left[start:end], "del"), (1, right[other_start:other_end], "ins")):
            if text := join_words(words):
                sides[side].append(("" if kind == "equal" else tag, text))
    return sides


def _indented(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _number(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) else "-"
