"""`nmt doctor` prints a line per finding, or JSON, and ends with 1 only if a training would fail."""

from __future__ import annotations

import json
from pathlib import Path

from command import run
from nmt.config.reading import recipe_to_toml
from tiny import make_recipe


def _recipe(folder: Path) -> Path:
    file = folder / "recipe.toml"
    file.write_text(recipe_to_toml(make_recipe(), folder))
    return file


def test_findings_are_lines_and_the_last_says_whether_it_fits(tmp_path: Path) -> None:
    """Each line begins with its level; nothing is trained and no run is made."""
    done = run("doctor", _recipe(tmp_path), "--run", tmp_path / "run", "--no-probe", "--device", "cpu")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert {line.split()[0] for line in lines[:-1]} <= {"ok", "advice"}
    assert lines[-1].startswith("this machine and this recipe are fit to train: no problem, ")
    assert not any(line.split()[1] == "speed" for line in lines[:-1])
    assert not (tmp_path / "run").exists()


def test_a_training_that_would_fail_ends_with_one(tmp_path: Path) -> None:
    """The problem has a line, and so has the end; an override counts as everywhere."""
    done = run("doctor", _recipe(tmp_path), "--set", "data.corpus=letter", "--run", tmp_path / "run")
    assert done.exit_code == 1
    assert "problem  corpus" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("not fit to train: 1 problem, ")


def test_json_holds_the_same_findings_with_their_figures(tmp_path: Path) -> None:
    """For scripts: whether it fits, and each finding by field."""
    options = ("--run", tmp_path / "run", "--no-probe", "--json", "--device", "cpu")
    found = json.loads(run("doctor", _recipe(tmp_path), *options).stdout)
    assert found["fit"] is True
    assert {*found["findings"][0]} == {"level", "topic", "text", "remedy", "figures"}
    (memory,) = (finding for finding in found["findings"] if finding["topic"] == "memory")
    assert memory["figures"]["needed"] > 100e6
    broken = run("doctor", _recipe(tmp_path), *options, "--set", "training.max_length=1")
    assert (broken.exit_code, json.loads(broken.stdout)["fit"]) == (1, False)


def test_without_a_recipe_the_machine_is_looked_at() -> None:
    """It has nothing that could fail."""
    done = run("doctor")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1].startswith("this machine is fit to train: no problem, ")


def test_a_wrong_key_is_an_error_as_everywhere(tmp_path: Path) -> None:
    """A recipe that cannot be read is no finding."""
    done = run("doctor", _recipe(tmp_path), "--set", "model.width_=3")
    assert done.exit_code == 1
    assert "model.width_" in done.stderr
