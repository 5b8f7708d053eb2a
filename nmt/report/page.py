"""The page about one or several runs of one corpus."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from nmt.corpus.words import join_words, split_words
from nmt.report.curves import Chart, found_in, thinned, training_charts
from nmt.report.material import Example, RunMaterial
from nmt.report.pictures import FEWEST
from nmt.report.templating import number, write_page
from nmt.scoring.evaluation import Evaluation
from nmt.scoring.metrics import title_of

Part = tuple[str, str]
"""A tag, or none, and the text in it."""


def render(runs: Sequence[RunMaterial]) -> str:
    """Returns the page about runs of one corpus as text. Everything from a corpus, a recipe or a model is escaped."""
    logs = {run.name: run.log for run in runs}
    return write_page(
        "runs.html",
        title=" · ".join(run.name for run in runs),
        subtitle=_subtitle(runs[0].data),
        runs=runs,
        differences=_differences,
        systems=[_system(run) for run in runs],
        scores=[_scores(runs, index) for index in range(len(runs[0].evaluations))],
        training=training_charts(logs),
        findings=found_in(logs),
        lengths=[_lengths(runs, index) for index in range(len(runs[0].evaluations))],
        fewest=FEWEST,
        corpora=_corpora(runs),
    )


def _corpora(runs: Sequence[RunMaterial]) -> list[dict[str, Any]]:
    """Returns what each corpus held and lost, for the runs that were trained on it."""
    found: dict[str, list[RunMaterial]] = {}
    for run in runs:
        found.setdefault(str(run.data["fingerprint"]), []).append(run)
    return [
        {
            "title": f"Data: {', '.join(run.name for run in same)}" if len(found) > 1 else "Data",
            "data": same[0].data,
            "leaks": [_leak(leak) for leak in same[0].data["found_in_train"]],
            "leaked": sum(
                leak["pairs_normalised"] for leak in same[0].data["found_in_train"] if leak["testset"] != "valid"
            ),
        }
        for same in found.values()
    ]


def _subtitle(data: Mapping[str, Any]) -> str:
    synthetic = ", synthetic" if data.get("synthetic") else ""
    direction = f"{data['source']} to {data['target']}"
    return f"{data['corpus']}{synthetic}, {direction}, {data['train']['kept']:,} training pairs"


def _system(run: RunMaterial) -> list[str]:
    card, seconds = run.card, run.card.get("seconds")
    figures = [number(card.get(key)) for key in ("parameters", "target_tokens", "tokens_per_second")]
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
            (bucket.centre, bucket.score.value)
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
    sides: tuple[list[tuple[str, list[str]]], list[tuple[str, list[str]]]] = ([], [])
    for kind, start, end, other_start, other_end in difflib.SequenceMatcher(None, left, right, False).get_opcodes():
        for side, words, tag in ((0, left[start:end], "del"), (1, right[other_start:other_end], "ins")):
            if words:
                sides[side].append(("" if kind == "equal" else tag, words))
    return _joined(sides[0]), _joined(sides[1])


def _joined(parts: Sequence[tuple[str, list[str]]]) -> list[Part]:
    """Returns the words of each part as text, with spaces between the parts where the script has some."""
    found: list[Part] = []
    for index, (tag, words) in enumerate(parts):
        if index and " " in join_words([parts[index - 1][1][-1], words[0]]):
            found.append(("", " "))
        found.append((tag, join_words(words)))
    return found
