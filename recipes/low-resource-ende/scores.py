"""Scores the models of a plan on its test sets: a table, and BLEU and chrF2 against the number of pairs.

    python recipes/low-resource-ende/scores.py PLAN RUNS OUTPUT

PLAN is the folder of bootstrap.toml, RUNS that of `nmt bootstrap`. It scores the models that translate in the direction of the
plan's first stage. scores.json keeps the scores of models that are no longer there. If stages end in a number of pairs, as
`pairs-1000` does, it also draws scores.png and scores.svg.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

import nmt
from nmt.experiments.bootstrap import Plan, Training, load_plan
from nmt.report.pictures import COLOURS, save_picture
from nmt.runtime.atomic import write_json
from nmt.scoring.metrics import title_of
from nmt_data.prepare import prepare

TESTSETS = ("valid", "test_2016_flickr", "test_2017_flickr")
METRICS = ("bleu", "chrf2")
Scores = dict[str, dict[str, dict[str, float | str]]]
"""Stage, then test set, then metric; each with its signature."""


def finished(plan: Plan, runs: Path) -> Iterator[tuple[str, nmt.Translator]]:
    """Yields name and model of each training that is done and learnt to translate in the plan's direction."""
    direction = None
    for stage in plan.stages:
        folder = runs / stage.name / "model"
        if not isinstance(stage, Training) or not (folder / "card.json").exists():
            continue
        translator = nmt.load(folder)
        recipe = translator.recipe
        direction = direction or (recipe.data.source, recipe.data.target)
        if recipe.training.objective == "translate" and direction == (recipe.data.source, recipe.data.target):
            yield stage.name, translator


def scored(translator: nmt.Translator) -> dict[str, dict[str, float | str]]:
    """Returns the scores of a model on each test set, and their signatures."""
    prepared = prepare(translator.recipe)
    found: dict[str, dict[str, float | str]] = {}
    for name in TESTSETS:
        scores = nmt.evaluate(translator, prepared.testset(name), metrics=METRICS).scores
        found[name] = {item.metric: round(item.value, 2) for item in scores}
        found[name] |= {f"{item.metric}_signature": item.signature for item in scores}
    return found


def table(scores: Scores) -> str:
    """Returns a row for each model."""
    heads = [f"{name}, {title_of(metric)}" for name in TESTSETS for metric in METRICS]
    rows = [["model", *heads], ["---", *["---:"] * len(heads)]]
    for stage, found in scores.items():
        rows.append([stage, *(f"{found[name][metric]:.1f}" for name in TESTSETS for metric in METRICS)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def by_size(scores: Scores) -> dict[str, list[tuple[int, str]]]:
    """Returns the way to train, then the numbers of pairs with their stages, for stages that end in a number."""
    found: dict[str, list[tuple[int, str]]] = {}
    for stage in scores:
        if match := re.fullmatch(r"(.+)-(\d+)", stage):
            found.setdefault(match[1], []).append((int(match[2]), stage))
    return {way: sorted(stages) for way, stages in found.items()}


def draw(path: Path, title: str, scores: Scores) -> None:
    """Draws test 2016 against the number of pairs, a field for each metric and a line for each way to train."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(METRICS)), METRICS, strict=True):
        for number, (way, stages) in enumerate(by_size(scores).items()):
            values = [scores[stage]["test_2016_flickr"][metric] for _, stage in stages]
            axes.plot([size for size, _ in stages], values, marker="o", color=COLOURS[number], label=way)
        sizes = sorted({size for stages in by_size(scores).values() for size, _ in stages})
        axes.set(xscale="log", xlabel="pairs", ylabel=title_of(metric), ylim=(0, None))
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.25)
    figure.suptitle(title)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    save_picture(figure, path)


def main(folder: Path, runs: Path, output: Path) -> None:
    """Scores what is there, and writes all that is known."""
    plan, path = load_plan(folder), output / "scores.json"
    known: Scores = json.loads(path.read_text("utf-8")) if path.exists() else {}
    known |= {name: scored(translator) for name, translator in finished(plan, runs)}
    known = {stage.name: known[stage.name] for stage in plan.stages if stage.name in known}
    output.mkdir(parents=True, exist_ok=True)
    write_json(path, known)
    if by_size(known):
        for suffix in ("png", "svg"):
            draw(output / f"scores.{suffix}", plan.title, known)
    print(table(known))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
