"""A Ray cluster of two nodes on this machine: the same bytes as without, also when a node is lost on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from command import NMT, environment, run
from nmt.errors import NmtError
from nmt.runtime.cluster import ClusterCrew
from nmt.runtime.files import file_sha256
from ray_cluster import TwoNodes, two_nodes

# Small shards, so that a small corpus has many.
_SMALL = "from nmt_data import streams; streams.SIZE = 500; from nmt_cli.main import app; app()"


@pytest.fixture
def cluster() -> Iterator[TwoNodes]:
    """A running cluster."""
    pytest.importorskip("ray")
    with two_nodes(environment()) as nodes:
        yield nodes


def _bytes(home: Path) -> dict[str, str]:
    (folder,) = (home / "corpora").iterdir()
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("report.json", "MANIFEST.json"))
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("lost", [False, True])
def test_a_corpus_prepared_by_a_cluster(tmp_path: Path, cluster: TwoNodes, lost: bool) -> None:
    """Shards go to all nodes; those of a lost node are done again on another."""
    recipe = _recipe(tmp_path)
    homes = [tmp_path / "alone", tmp_path / "cluster"]
    command = [sys.executable, "-c", _SMALL, "prepare", str(recipe)]
    subprocess.run(command, env={**environment(), "NMT_HOME": str(homes[0])}, check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen(
        [*command, "--cluster", cluster.address],
        env={**environment(), "NMT_HOME": str(homes[1])},
        stdout=subprocess.DEVNULL,
    )
    if lost:
        _wait_for_shards(homes[1])
        cluster.kill_node()
    assert process.wait(300) == 0
    assert _bytes(homes[1]) == _bytes(homes[0])


@pytest.mark.slow
@pytest.mark.thorough
def test_a_file_translated_by_a_cluster(trained: Path, tmp_path: Path, cluster: TwoNodes) -> None:
    """The same lines in the same order, one node lost on the way."""
    lines = tmp_path / "in"
    lines.write_text("".join(f"{'abcdefgh'[number % 8]} b c {number % 5}\n" for number in range(600)))
    alone = run("translate", trained, lines, "--device", "cpu")
    command = [*NMT, "translate", str(trained), str(lines), "--device", "cpu", "--cluster", cluster.address]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        first = process.stdout.readline()
        cluster.kill_node()
        rest = process.stdout.read()
    assert process.returncode == 0
    assert (first + rest).decode() == alone.stdout


@pytest.mark.slow
@pytest.mark.thorough
def test_a_task_that_kills_its_process_is_an_error(tmp_path: Path, cluster: TwoNodes) -> None:
    """It is tried some times, and then the work ends in one line."""
    tries = tmp_path / "tries"

    def opening() -> Callable[[int], int]:
        def work(_: int) -> int:
            with tries.open("a") as stream:
                stream.write("x")
            os._exit(9)

        return work

    with pytest.raises(NmtError, match=r"^the cluster cannot go on: "):
        list(ClusterCrew(opening, cluster.address).results([1]))
    assert 1 < tries.stat().st_size < 10


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """It names the address and how to start one."""
    pytest.importorskip("ray")
    done = subprocess.run(
        [*NMT, "prepare", str(_recipe(tmp_path)), "--cluster", "127.0.0.1:1"],
        env={**environment(), "NMT_HOME": str(tmp_path / "home"), "RAY_TIMEOUT_MS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().split("\n")[-1].startswith("nmt: cluster: no Ray cluster at 127.0.0.1:1")


def _recipe(folder: Path) -> Path:
    lines = [f"{word} {number} {'x' * (number % 7)}" for number in range(3000) for word in ("eins", "zwei", "drei")]
    for language in ("de", "en"):
        (folder / f"train.{language}").write_text("".join(f"{line} {language}\n" for line in lines))
    (folder / "card.toml").write_text(
        'name = "c"\ntitle = "c"\nlicence = "c"\nlanguages = ["de", "en"]\nsplits = { train = "train.{language}" }\n'
        "[holdout]\nvalid = 20\n"
    )
    recipe = folder / "recipe.toml"
    recipe.write_text(
        'name = "c"\n[data]\ncorpus = "card.toml"\nsource = "de"\ntarget = "en"\ncleaning = { duplicates = "exact" }\n'
        '[tokenizer]\nkind = "bpe"\nvocabulary = 200\n[model]\nkind = "rnn"\n'
    )
    return recipe


def _wait_for_shards(home: Path) -> None:
    """Waits until some shards were written."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(home.rglob("*.parquet"))) < 2:
        time.sleep(0.05)
