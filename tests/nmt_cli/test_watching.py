"""A training that is watched: the page is there while it goes on, and what becomes of the page changes nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from command import run, start
from nmt.config.reading import recipe_to_toml
from tiny import make_recipe


@contextmanager
def _begun(folder: Path, *options: str, updates: int = 40) -> Generator[subprocess.Popen[bytes]]:
    """A training as a process, which ends with the block."""
    folder.mkdir()
    recipe = make_recipe(training={"updates": updates, "validate_every": 20})
    (folder / "recipe.toml").write_text(recipe_to_toml(recipe))
    process = start("train", str(folder / "recipe.toml"), "--run", str(folder / "run"), "--device", "cpu", *options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _address(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"showing trainings at (http://127\.0\.0\.1:\d+/)$", line.decode()):
            return found[1]
    raise AssertionError("no address")


def _asked(address: str) -> str:
    with urlopen(address, timeout=60) as answer:  # noqa: S310 - of this computer
        return str(answer.read().decode())


def _answers(address: str) -> bool:
    try:
        return bool(_asked(address))
    except OSError:
        return False


def _children(process: subprocess.Popen[bytes]) -> list[int]:
    found = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def _weights(folder: Path) -> dict[str, bytes]:
    files = (folder / "run").rglob("*.safetensors")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
def test_a_watcher_that_is_killed_changes_nothing(home: Path, tmp_path: Path) -> None:
    """The page is there; when its server is killed, the training ends with the bytes of one that was not watched."""
    with _begun(tmp_path / "watched", "--watch") as watched:
        address = _address(watched)
        assert "/page/main.js" in _asked(address)
        for child in _children(watched):
            os.kill(child, signal.SIGKILL)
        watched.communicate(timeout=600)
        assert watched.returncode == 0
    recipe, alone = tmp_path / "watched" / "recipe.toml", tmp_path / "alone" / "run"
    assert run("train", recipe, "--run", alone, "--device", "cpu").exit_code == 0
    assert _weights(tmp_path / "watched") == _weights(tmp_path / "alone") != {}


@pytest.mark.slow
def test_the_page_ends_with_the_training(home: Path, tmp_path: Path) -> None:
    """It shows the run until then, also if the training is killed."""
    with _begun(tmp_path / "run", "--watch", updates=100_000) as training:
        address = _address(training)
        deadline = time.monotonic() + 60
        while not (shown := json.loads(_asked(f"{address}v1/runs"))["runs"]) and time.monotonic() < deadline:
            time.sleep(0.1)  # the page may be there before the log
        assert [item["name"] for item in shown] == ["run"]
    deadline = time.monotonic() + 60
    while _answers(f"{address}v1/runs") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _answers(f"{address}v1/runs")


def test_a_page_needs_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them, one line before anything is trained."""
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(make_recipe()))
    monkeypatch.setattr("nmt_cli.serve.find_spec", lambda _: None)
    refused = run("train", tmp_path / "recipe.toml", "--run", tmp_path / "run", "--watch")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "nmt: serving needs packages that are not installed: pip install 'nmt[serve]'\n",
    )
    assert not (tmp_path / "run").exists()
