"""A study trains every system with every seed once, and says what came of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command import run
from nmt.metrics import accuracy_by_length
from nmt.recipes import recipe_to_toml
from nmt.running import only_trainer
from nmt.study import load_study
from tiny import make_recipe

STUDY = """
title = "Two decoders"
testset = "test"
measure = "accuracy"
seeds = [1, 2]

[[systems]]
name = "fixed vector"
set = ["model.attention=none"]

[[systems]]
name = "additive"
"""


@pytest.mark.slow
def test_a_study_ends_in_a_table_figures_and_pictures(tmp_path: Path, home: Path) -> None:
    """What is done is kept: a second call trains nothing; names and numbers are in every file."""
    recipe = make_recipe({"kind": "rnn", "embedding": 16, "hidden": 16}, data={"corpus": "reverse", "limit": 500})
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(recipe))
    (tmp_path / "study.toml").write_text(STUDY)
    options = ["--runs", tmp_path / "runs", "--output", tmp_path / "out", "--set", "training.updates=3"]
    first = run("study", tmp_path, *options)
    assert first.exit_code == 0, first.output
    assert first.stdout.count("fixed vector") == 1
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["system"] for row in content["rows"]] == ["fixed vector", "additive"]
    assert [row["seeds"] for row in content["rows"]] == [2, 2]
    assert content["rows"][0]["p_value"] is None
    assert content["rows"][1]["p_value"] is not None
    lines = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert lines[0] == "system,seed,testset,measure,from,to,sentences,value,low,high"
    assert {line.split(",")[0] for line in lines[1:]} == {"fixed vector", "additive"}
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".csv", ".json", ".png", ".svg"]
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("weights.safetensors")}
    again = run("study", tmp_path, *options)
    assert again.exit_code == 0, again.output
    assert trained == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("weights.safetensors")}


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_a_study_that_is_stopped_stops_its_trainings(tmp_path: Path, home: Path, signals: int) -> None:
    """Those that run end after their update, those that wait do not begin, and the same command goes on.

    Asked twice, they are killed.
    """
    recipe = make_recipe({"kind": "rnn", "embedding": 16, "hidden": 16}, data={"corpus": "reverse", "limit": 500})
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(recipe))
    (tmp_path / "study.toml").write_text(STUDY)
    command = [sys.executable, "-m", "nmt_cli", "study", tmp_path, "--runs", tmp_path / "runs", "--jobs", "1"]
    settings = ["--set", "training.updates=1000000", "--set", "training.log_every=1"]
    process = subprocess.Popen([*map(str, command), *settings], stderr=subprocess.PIPE, text=True)
    first = tmp_path / "runs" / "fixed-vector-1"
    deadline = time.monotonic() + 120
    while not (first / "log.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    for _ in range(signals):
        process.terminate()
        time.sleep(0.05)
    _, errors = process.communicate(timeout=60)
    if signals == 1:
        assert process.returncode == 128 + signal.SIGTERM, errors
        assert "stopped by SIGTERM with its trainings; the same command goes on from there" in errors
        assert "stopped by SIGTERM after update" in (first / "study.log").read_text()
    else:
        assert process.returncode == -signal.SIGTERM, errors
        time.sleep(1)  # the training dies beside the study
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [first.name]
    with only_trainer(first):  # nobody trains there any more
        pass


def test_a_study_that_is_wrong_is_refused(tmp_path: Path) -> None:
    """One line, before anything is trained."""
    assert "No such file" in run("study", tmp_path).output
    (tmp_path / "study.toml").write_text('title = "x"\ntestset = "test"\nsystems = []\nsed = 1\n')
    result = run("study", tmp_path)
    assert result.exit_code == 1
    assert "unknown key sed (did you mean seeds?)" in result.output
    assert "systems: " in result.output


def test_accuracy_counts_positions() -> None:
    """By length of the source; what is missing or beyond the end is wrong."""
    buckets = accuracy_by_length(["a b", "c d", "e f g"], ["b a", "d", "g f x y"], ["b a", "d c", "g f e"])
    assert [(bucket.low, bucket.sentences) for bucket in buckets] == [(2, 2), (3, 1)]
    assert [round(bucket.bleu.value, 1) for bucket in buckets] == [75.0, 66.7]


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("recipes/*/study.toml")), ids=lambda p: p.parent.name
)
def test_the_studies_of_the_checkout_are_right(path: Path) -> None:
    """Every system has a recipe that can be read, and names are told apart."""
    from nmt.recipes import load_recipe

    plan = load_study(path.parent)
    assert len({system.name for system in plan.systems}) == len(plan.systems)
    for system in plan.systems:
        load_recipe(path.parent / system.recipe, list(system.set))
