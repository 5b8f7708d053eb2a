"""`nmt study`: several systems over several seeds, from raw text to one table and one picture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from nmt_cli.console import note, print_table
from nmt_cli.options import SetOption

if TYPE_CHECKING:
    from nmt.prepared import TestSet
    from nmt.study import Row, Run, Study, System


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
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Trainings side by side. Default: one a core.", show_default=False)
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Train and score every system of a study (what is done already is kept), then write table, CSV, JSON and picture."""
    from nmt.device import usable_cores
    from nmt.report.length_plot import plot_by_length
    from nmt.study import averaged, load_study, summarise, write_results

    plan = load_study(folder)
    plan = plan.model_copy(update={"seeds": plan.seeds[:seeds]}) if seeds else plan
    place = runs or Path("runs") / folder.resolve().name
    results = output or place
    results.mkdir(parents=True, exist_ok=True)
    testset = _prepare(folder, plan, overrides or [])
    chosen = [(system, seed) for system in plan.systems for seed in plan.seeds]
    cores = usable_cores()
    workers = jobs or cores
    commands = Commands(max(1, cores // workers))
    with ThreadPoolExecutor(workers) as pool:
        work = [
            pool.submit(_run, commands, folder, plan, system, seed, place, overrides or []) for system, seed in chosen
        ]
        commands.follow(work)
    found = [_read(place, plan, system, seed, testset) for system, seed in chosen]
    rows = summarise(plan, found, _p_values(plan, found, testset))
    write_results(results, plan, found, rows)
    for suffix in ("png", "svg"):
        plot_by_length(results / f"figure.{suffix}", plan.title, averaged(plan, found), measure=plan.measure)
    _print(plan, rows)


class Commands:
    """The commands of a study, several at a time, each in a process group of its own: a signal reaches it through us alone."""

    def __init__(self, threads: int) -> None:
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._running: set[subprocess.Popen[str]] = set()
        self._lock, self._stopped = Lock(), False

    def call(self, run: Path, *arguments: str) -> str:
        """What a command prints; its progress goes into a file of the run.

        Raises:
            NmtError: it failed, with its last words.
        """
        from nmt.errors import NmtError

        with (run / "study.log").open("a", encoding="utf-8") as log:
            process = self._start(arguments, log)
            output, _ = process.communicate()
        with self._lock:  # `_stop` goes through them
            self._running.discard(process)
        if process.returncode:
            last = (run / "study.log").read_text(encoding="utf-8").strip().splitlines()[-1:]
            raise NmtError(f"nmt {arguments[0]} failed in {run}: {' '.join(last)}")
        return output

    def follow(self, work: Sequence[Future[None]]) -> None:
        """Waits for all the work. A signal that asks to stop is passed on, and nothing else begins; a second one kills.

        Raises:
            Interrupted: by that signal.
            NmtError: of the first that failed, when the others have ended.
        """
        from nmt.running import Interrupted, stop_signals

        with stop_signals(self._kill) as stop:
            while not stop.number and wait(work, timeout=0.2).not_done:
                pass
            if stop.number:
                self._stop(work)
                raise Interrupted(stop.number, "with its trainings")
        for future in work:
            future.result()

    def _start(self, arguments: Sequence[str], log: TextIO) -> subprocess.Popen[str]:
        from nmt.errors import NmtError

        command = [sys.executable, "-m", "nmt_cli", *arguments]
        with self._lock:
            if self._stopped:
                raise NmtError("stopped")
            process = subprocess.Popen(  # noqa: S603 - this program itself
                command, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True, process_group=0
            )
            self._running.add(process)
        return process

    def _stop(self, work: Sequence[Future[None]]) -> None:
        with self._lock:
            self._stopped = True
            for future in work:
                future.cancel()
            for process in self._running:
                process.terminate()
        wait(work)

    def _kill(self) -> None:  # called by a signal, which may have come while this thread holds the lock
        for process in tuple(self._running):
            process.kill()


def _prepare(folder: Path, plan: Study, overrides: Sequence[str]) -> TestSet:
    """Checks every recipe and prepares every corpus before the first training; the test set."""
    from nmt.recipes import load_recipe
    from nmt_cli.testsets import choose_testsets

    recipes = [load_recipe(folder / system.recipe, [*system.set, *overrides]) for system in plan.systems]
    testset, *_ = [choose_testsets(recipe, [plan.testset])[0] for recipe in recipes]
    return testset


def _run(
    commands: Commands, folder: Path, plan: Study, system: System, seed: int, place: Path, overrides: Sequence[str]
) -> None:
    """Trains and scores one system with one seed, in processes of their own, unless that is done."""
    from nmt.recipes import load_recipe

    run = _folder(place, system, seed)
    run.mkdir(parents=True, exist_ok=True)
    changes = [f"name={system.name}", f"seed={seed}", *system.set, *overrides]
    wanted = load_recipe(folder / system.recipe, changes)
    if (run / "results" / "result.json").exists() and load_recipe(run / "recipe.toml") == wanted:
        return
    settings = [item for change in changes for item in ("--set", change)]
    commands.call(run, "train", str(folder / system.recipe), "--run", str(run), *settings)
    if plan.gold and plan.pairs:
        data = Path(os.environ.get("NMT_DATA", ""))
        gold = ["--pairs", str(data / plan.pairs), "--gold", str(data / plan.gold), "--format", "json"]
        (run / "alignment.json").write_text(commands.call(run, "attend", str(run), *gold))
    testsets = [item for name in (plan.testset, *plan.also) for item in ("--testset", name)]
    commands.call(run, "evaluate", str(run), *testsets, "--metric", "bleu", "--save", str(run / "results"))
    note(f"done: {system.name}, seed {seed}")


def _read(place: Path, plan: Study, system: System, seed: int, testset: TestSet) -> Run:
    from nmt.metrics import Bucket, Score, accuracy_by_length
    from nmt.study import Run
    from nmt.text import read_lines

    run = _folder(place, system, seed)
    result: dict[str, Any] = json.loads((run / "results" / "result.json").read_text(encoding="utf-8"))
    lines = read_lines(run / "results" / f"{plan.testset}.hypothesis")
    if plan.measure == "accuracy":
        buckets = accuracy_by_length(testset.source, lines, testset.target)
    else:
        evaluation = next(item for item in result["evaluations"] if item["testset"] == plan.testset)
        buckets = [
            Bucket(item["low"], item["high"], item["sentences"], Score(**item["bleu"]))
            for item in evaluation["by_length"]
        ]
    rate = None
    if (run / "alignment.json").exists():
        rates = json.loads((run / "alignment.json").read_text(encoding="utf-8"))
        rate = min(item["error_rate"] for item in rates if item["links"] != "diagonal")
    return Run(system.name, seed, result, lines, buckets, rate)


def _p_values(plan: Study, runs: Sequence[Run], testset: TestSet) -> dict[str, float | None]:
    """Of each system beside the first, over the test set once for each seed."""
    from nmt.significance import paired_test

    joined = {
        system.name: [line for run in runs if run.system == system.name for line in run.hypotheses]
        for system in plan.systems
    }
    if len(joined) < 2:
        return {}
    references = testset.target * len(plan.seeds)
    found = paired_test(joined, references, tokenize=testset.tokenize, bleu_alone=True, lowercase=testset.lowercase)
    return {item.system: item.p_value for item in found}


def _folder(place: Path, system: System, seed: int) -> Path:
    return place / f"{system.name.replace(' ', '-').replace('/', '-')}-{seed}"


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
