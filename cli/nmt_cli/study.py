"""`nmt study`: several systems over several seeds, from raw text to a table and a plot."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nmt_cli.console import note, print_table
from nmt_cli.options import SetOption
from nmt_cli.study_commands import Commands, Material, TrainingTask

if TYPE_CHECKING:
    from nmt.corpus.testset import TestSet
    from nmt.experiments.study import Row, Run, Study, System

_ALIGNMENT = "alignment.json"


def study(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Holds study.toml and its recipes.", show_default=False)
    ],
    runs: Annotated[
        Path | None,
        typer.Option("--runs", file_okay=False, help="Folder for the runs. Default: runs/NAME.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", file_okay=False, help="Folder for results. Default: that of the runs.", show_default=False
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Only the first so many seeds.", show_default=False)] = None,
    systems: Annotated[
        list[str] | None,
        typer.Option("--system", metavar="NAME", help="Only this system; may be given again.", show_default=False),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Trainings side by side. Default: one a core.", show_default=False)
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Train and score every system of a study (finished ones are kept), then write table, CSV, JSON and picture."""
    from nmt.config.paths import real_path
    from nmt.experiments.study import averaged, load_study, run_name, summarise, write_results
    from nmt.report.length_plot import plot_by_length
    from nmt.runtime.cpu import usable_cores
    from nmt.runtime.owners import claim

    plan = load_study(folder).only(seeds, systems or ())
    place = runs or Path("runs") / real_path(folder).name
    results = output or place
    results.mkdir(parents=True, exist_ok=True)
    place.mkdir(parents=True, exist_ok=True)
    cores = usable_cores()
    workers = jobs or cores
    commands = Commands(max(1, cores // workers))
    with claim(place / "lock", f"{place} is being worked on"):
        materials = {system.name: _prepare(folder, plan, system, overrides or []) for system in plan.systems}
        _check_alike(materials)
        chosen = [(system, seed) for system in plan.systems for seed in plan.seeds]
        tasks = [
            TrainingTask(folder, plan, system, seed, place / run_name(system, seed), overrides or [])
            for system, seed in chosen
        ]
        waiting = [task for task in tasks if not _is_done(task, materials[task.system.name])]
        if len(waiting) < len(tasks):
            note(f"nmt: {len(tasks) - len(waiting)} of {len(tasks)} runs are done")
        with ThreadPoolExecutor(workers) as pool:
            commands.follow([pool.submit(_run, commands, task, materials[task.system.name]) for task in waiting])
    testset = materials[plan.systems[-1].name].testsets[0]
    found = [_read(task, testset) for task in tasks]
    rows = summarise(plan, found, _p_values(plan, found, testset))
    write_results(results, plan, found, rows)
    for suffix in ("png", "svg"):
        plot_by_length(results / f"figure.{suffix}", plan.title, averaged(plan, found), measure=plan.measure)
    _print(plan, rows)


def _prepare(folder: Path, plan: Study, system: System, overrides: Sequence[str]) -> Material:
    """Checks the recipe of a system and prepares its corpus, before any training."""
    from nmt.config.reading import load_recipe
    from nmt_cli.testsets import choose_testsets
    from nmt_data.cards import file_beside
    from nmt_data.prepare import prepare

    recipe = load_recipe(folder / system.recipe, [*system.set, *overrides])
    corpus = prepare(recipe, say=note).fingerprint
    gold = [file_beside(folder, name, "study") for name in (plan.pairs, plan.gold) if name and plan.pairs and plan.gold]
    return Material(corpus, choose_testsets(recipe, plan.testsets), gold)


def _check_alike(materials: Mapping[str, Material]) -> None:
    """Refuses systems that would be scored on different sentences, such as held-out ones of another choice of data.

    Raises:
        ConfigError: two systems differ.
    """
    from nmt.errors import ConfigError

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


def _is_done(task: TrainingTask, material: Material) -> bool:
    """Whether the same was trained and scored before."""
    from nmt.storage.manifest import folder_damage

    return not folder_damage(task.results, thorough=True, origin=material.origin(task))


def _run(commands: Commands, task: TrainingTask, material: Material) -> None:
    """Trains and scores in separate processes; outdated results are removed first."""
    from nmt.storage.manifest import write_folder_manifest

    run, results, origin = task.run, task.results, material.origin(task)  # of the recipe as it is trained
    shutil.rmtree(results, ignore_errors=True)
    run.mkdir(parents=True, exist_ok=True)
    settings = [item for change in task.changes for item in ("--set", change)]
    commands.wait_for(run)
    commands.call(run, "train", str(task.recipe), "--run", str(run), *settings)
    testsets = [item for name in task.plan.testsets for item in ("--testset", name)]
    commands.call(run, "evaluate", str(run), *testsets, "--metric", "bleu", "--save", str(results))
    if material.gold:
        pairs, gold = map(str, material.gold)
        links = commands.call(run, "attend", str(run), "--pairs", pairs, "--gold", gold, "--format", "json")
        (results / _ALIGNMENT).write_text(links, encoding="utf-8")
    write_folder_manifest(results, origin)
    note(f"done: {task.system.name}, seed {task.seed}")


def _read(task: TrainingTask, testset: TestSet) -> Run:
    from nmt.corpus.lines import read_lines
    from nmt.experiments.study import Run
    from nmt.scoring.accuracy import accuracy_by_length
    from nmt.scoring.metrics import Bucket, Score

    plan, results = task.plan, task.results
    result: dict[str, Any] = json.loads((results / "result.json").read_text(encoding="utf-8"))
    lines = read_lines(results / f"{testset.name}.hypothesis")
    if plan.measure == "accuracy":
        buckets = accuracy_by_length(testset.source, lines, testset.target)
    else:
        evaluation = next(item for item in result["evaluations"] if item["testset"] == testset.name)
        buckets = [
            Bucket(item["low"], item["high"], item["sentences"], Score(**item["bleu"]))
            for item in evaluation["by_length"]
        ]
    rate = None
    if (results / _ALIGNMENT).exists():
        rates = json.loads((results / _ALIGNMENT).read_text(encoding="utf-8"))
        rate = min(item["error_rate"] for item in rates if item["links"] != "diagonal")
    return Run(task.system.name, task.seed, result, lines, buckets, rate)


def _p_values(plan: Study, runs: Sequence[Run], testset: TestSet) -> dict[str, float | None]:
    """Returns the p-value of each system against the first, over the test set once per seed."""
    from nmt.scoring.significance import paired_accuracy, paired_test

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


def _print(plan: Study, rows: Sequence[Row]) -> None:
    measure = "BLEU" if plan.measure == "bleu" else "accuracy"
    columns = ["system", "parameters", f"{measure}, mean of {len(plan.seeds)}", "sd", "p", "ms/update"]
    aligned = any(row.error_rate is not None for row in rows)
    cells = [
        [
            row.system, f"{row.parameters:,}", f"{row.score:.1f}", f"{row.deviation:.1f}",
            "" if row.p_value is None else f"{row.p_value:.3f}", f"{row.milliseconds:.0f}",
            *([f"{row.error_rate:.1f}" if row.error_rate is not None else ""] if aligned else []),
        ]
        for row in rows
    ]  # fmt: skip
    print_table(f"{plan.title} ({plan.testset})", [*columns, *(["AER"] if aligned else [])], cells)
