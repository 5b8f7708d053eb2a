"""The script for a GPU: it keeps to its time, loses no figure, and its steps run, small, on a CPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import monotonic

import pytest
import torch

from nmt.bench.gpu.__main__ import main
from nmt.bench.gpu.calls import CALLS, STEPS
from nmt.bench.gpu.checks import outcome
from nmt.bench.gpu.context import Context
from nmt.bench.gpu.ledger import Ledger, read_figures, summary
from nmt.bench.gpu.predictions import PREDICTIONS
from nmt.bench.gpu.probes import probe
from nmt.bench.gpu.running import Runner, Step
from nmt.config.reading import recipe_to_toml
from tiny import make_recipe

SCRIPT = """
import subprocess, sys, time
name = sys.argv[-1]
print("here is", name, flush=True)
if name == "fails":
    sys.exit("no such card")
if name == "hangs":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).wait()
"""


def run_steps(folder: Path, budget: float, *steps: Step) -> list[tuple[str, str]]:
    """How each step ended, in a file of this folder."""
    Runner([sys.executable, "-c", SCRIPT], folder, folder, budget, lambda _: None).run(steps)
    return [(row["step"], row["ended"]) for row in read_figures(folder / "figures.jsonl")]


def test_a_step_that_fails_or_hangs_costs_only_itself(tmp_path: Path) -> None:
    """And what it had started ends with it."""
    start = monotonic()
    ended = run_steps(tmp_path, 60, Step("fails", 20, 0), Step("hangs", 1, 0), Step("works", 20, 0))
    assert ended == [("fails", "failed"), ("hangs", "killed"), ("works", "done")]
    assert monotonic() - start < 30
    assert (tmp_path / "log.txt").read_text().count("here is") == 3
    assert "no such card" in "\n".join(summary(read_figures(tmp_path / "figures.jsonl")))


def test_a_step_without_time_is_skipped(tmp_path: Path) -> None:
    """And the shorter ones after it are not."""
    ended = run_steps(tmp_path, 20, Step("long", 300, 200), Step("short", 20, 0))
    assert ended == [("long", "skipped"), ("short", "done")]


def test_what_runs_beside_others_ends_before_time_is_measured(tmp_path: Path) -> None:
    """A background step still running is killed before the step that needs the machine alone."""
    beside = Step("hangs", 2, 0, beside=True, alone=False)
    ended = run_steps(tmp_path, 60, beside, Step("meanwhile", 20, 0, alone=False), Step("alone", 20, 0))
    assert ended[-2:] == [("hangs", "killed"), ("alone", "done")]


def test_a_figure_stands_beside_its_prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the file as soon as it is measured, and in the summary, where the last value counts."""
    monkeypatch.setitem(PREDICTIONS, "base: speed", 200.0)
    ledger = Ledger(tmp_path / "figures.jsonl", "base")
    for value in (90.0, 100.0):
        ledger.write("speed", value, "tokens/s")
    ledger.write("other", 1, "")
    rows = read_figures(tmp_path / "figures.jsonl")
    assert [row.get("predicted") for row in rows] == [200.0, 200.0, None]
    assert summary(rows)[0] == "base: speed 100 tokens/s (predicted 200, 0.50 of it)"


def test_the_summary_is_short(tmp_path: Path) -> None:
    """A summary of a hundred figures has forty lines and counts those left out."""
    ledger = Ledger(tmp_path / "figures.jsonl", "many")
    for number in range(100):
        ledger.write(f"figure {number}", number, "")
    lines = summary(read_figures(tmp_path / "figures.jsonl"))
    assert len(lines) == 40
    assert lines[-1] == "and 61 more in the file"


def test_calls_fit_into_ten_minutes_and_predictions_belong_to_steps() -> None:
    """What every step needs at least, together, is less than a call may take."""
    for steps in CALLS.values():
        assert sum(step.least for step in steps) < 560
        assert all(step.name in STEPS for step in steps)
    assert {key.partition(":")[0] for key in PREDICTIONS} <= STEPS.keys()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("[gw1] [ 12%] PASSED tests/gpu/test_gpu.py::test_x[a b]", ("PASSED", "tests/gpu/test_gpu.py::test_x[a b]")),
        ("tests/gpu/test_gpu.py::test_x[a] FAILED   [ 50%]", ("FAILED", "tests/gpu/test_gpu.py::test_x[a]")),
        ("FAILED tests/gpu/test_gpu.py::test_x - AssertionError: assert 1 == 2", None),
        ("gw0 [2 items]", None),
    ],
)
def test_outcomes_of_tests_are_read_as_they_come(line: str, found: tuple[str, str] | None) -> None:
    """Those of one process and of several; the summary at the end says nothing new."""
    assert outcome(line) == found


def context(folder: Path, step: str) -> Context:
    """A step on this CPU, small."""
    (folder / "tiny.toml").write_text(recipe_to_toml(make_recipe()))
    return Context(step, torch.device("cpu"), True, folder, folder, folder / "tiny.toml")


def test_probes_run_on_a_cpu(tmp_path: Path) -> None:
    """Each writes its figure."""
    probe(context(tmp_path, "probe"))
    figures = {row["figure"]: row["value"] for row in read_figures(tmp_path / "figures.jsonl")}
    assert {"device", "copy", "bf16 square 8192", "eager launch", "read one number"} <= figures.keys()


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("call", "left_out"),
    [("A", {"compile-base", "compile-tiny", "compile-big", "big", "tiny-25k"}), ("B", set()), ("C", {"tests"})],
)
def test_every_call_runs_small_on_a_cpu(call: str, left_out: set[str], tmp_path: Path, home: Path) -> None:
    """Each step ends well; its figures mean nothing there."""
    (tmp_path / "tiny.toml").write_text(recipe_to_toml(make_recipe()))
    steps = [step.name for step in CALLS[call] if step.name not in left_out]
    options = ["--out", str(tmp_path), "--device", "cpu", "--recipe", str(tmp_path / "tiny.toml"), "--quick"]
    assert main([call, *options, "--budget", "900", "--only", *steps]) == 0
    rows = [json.loads(line) for line in (tmp_path / "figures.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row.get("ended") == "done"] == steps
    assert (tmp_path / "summary.txt").exists()
