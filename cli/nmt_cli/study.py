"""`nmt study`: several systems over several seeds, from raw text to a table and a plot."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nmt.config.paths import real_path
from nmt_cli.console import note, print_table
from nmt_cli.options import SetOption
from nmt_cli.study_commands import Commands
from nmt_cli.testsets import choose_testsets

if TYPE_CHECKING:
    from nmt.experiments.study import Row, Run, Study, System
    from nmt.experiments.study_runs import Material, TrainingTask


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
    from nmt.experiments.study import RESULTS, load_study, more_results, run_name, summarise
    from nmt.experiments.study_runs import TrainingTask, check_alike, is_done, p_values, read_run
    from nmt.runtime.cpu import usable_cores
    from nmt.runtime.owners import claim

    whole = load_study(folder)
    plan = whole.only(seeds, systems or ())
    place = runs or Path("runs") / real_path(folder).name
    results = output or place
    results.mkdir(parents=True, exist_ok=True)
    place.mkdir(parents=True, exist_ok=True)
    cores = usable_cores()
    workers = jobs or cores
    commands = Commands(max(1, cores // workers))
    with claim(place / "lock", f"{place} is being worked on"):
        materials = {system.name: _prepare(folder, plan, system, overrides or []) for system in plan.systems}
        check_alike(materials)
        chosen = [(system, seed) for system in plan.systems for seed in plan.seeds]
        tasks = [
            TrainingTask(folder, plan, system, seed, place / run_name(system, seed), overrides or [])
            for system, seed in chosen
        ]
        waiting = [task for task in tasks if not is_done(task, materials[task.system.name])]
        if len(waiting) < len(tasks):
            note(f"nmt: {len(tasks) - len(waiting)} of {len(tasks)} runs are done")
        with ThreadPoolExecutor(workers) as pool:
            commands.follow([pool.submit(_run, commands, task, materials[task.system.name]) for task in waiting])
    testset = materials[plan.systems[-1].name].testsets[0]
    found = [read_run(task, testset) for task in tasks]
    rows = summarise(plan, found, p_values(plan, found, testset))
    if others := more_results(results, whole, found):
        note(f"nmt: {results / RESULTS}.json also has {others}, and stays as it is; --output FOLDER writes these alone")
    else:
        _write(results, plan, found, rows)
    _print(plan, rows)


def _prepare(folder: Path, plan: Study, system: System, overrides: Sequence[str]) -> Material:
    """Checks the recipe of a system and prepares its corpus, before any training."""
    from nmt.config.reading import load_recipe
    from nmt.experiments.study_runs import Material
    from nmt_data.cards import file_beside
    from nmt_data.prepare import prepare

    recipe = load_recipe(folder / system.recipe, [*system.set, *overrides])
    corpus = prepare(recipe, say=note).fingerprint
    gold = [file_beside(folder, name, "study") for name in (plan.pairs, plan.gold) if name and plan.pairs and plan.gold]
    return Material(corpus, choose_testsets(recipe, plan.testsets), gold)


def _run(commands: Commands, task: TrainingTask, material: Material) -> None:
    """Trains and scores in separate processes; outdated results are removed first."""
    from nmt.config.reading import load_recipe
    from nmt.experiments.study_runs import ALIGNMENT
    from nmt.storage.manifest import write_folder_manifest
    from nmt.storage.run_folder import RunFolder

    run, results, origin = task.run, task.results, material.origin(task)  # of the recipe as it is trained
    run.mkdir(parents=True, exist_ok=True)
    settings = [item for change in task.changes for item in ("--set", change)]
    commands.wait_for(run)
    if aside := RunFolder(run).set_aside(load_recipe(task.recipe, task.changes)):
        note(f"nmt: {aside}")
        run.mkdir()
    shutil.rmtree(results, ignore_errors=True)
    commands.call(run, "train", str(task.recipe), "--run", str(run), *settings)
    testsets = [item for name in task.plan.testsets for item in ("--testset", name)]
    commands.call(run, "evaluate", str(run), *testsets, "--metric", "bleu", "--save", str(results))
    if material.gold:
        pairs, gold = map(str, material.gold)
        links = commands.call(run, "attend", str(run), "--pairs", pairs, "--gold", gold, "--format", "json")
        (results / ALIGNMENT).write_text(links, encoding="utf-8")
    write_folder_manifest(results, origin)
    note(f"done: {task.system.name}, seed {task.seed}")


def _write(folder: Path, plan: Study, runs: Sequence[Run], rows: Sequence[Row]) -> None:
    from nmt.experiments.study import averaged, write_results
    from nmt.report.length_plot import plot_by_length

    write_results(folder, plan, runs, rows)
    for suffix in ("png", "svg"):
        plot_by_length(folder / f"figure.{suffix}", plan.title, averaged(plan, runs), measure=plan.measure)


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
