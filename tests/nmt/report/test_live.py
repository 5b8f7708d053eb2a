"""What a run folder says while it is trained: all of the log, once, whatever happens to it, and nothing is changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.corpus.prepared import Prepared
from nmt.report import live
from nmt.report.health import findings
from nmt.report.live import Chunk, find_runs, list_runs, read_after, run_state, show_run
from nmt.runtime.owners import SILENT
from nmt.runtime.signals import only_trainer
from nmt.storage.run_folder import RunFolder
from nmt.training.events import Event
from nmt.training.trainer import Trainer
from tiny import make_recipe

START = {"kind": "start", "step": 0, "seconds": 0.0, "updates": 100, "budget": None, "padding": 0.02}


def _train(step: int, **values: Any) -> dict[str, Any]:
    figures = {"updates": 100, "loss": 2.0, "seconds": 2.0 * step, "gradient_norm": 1.0, "tokens_per_second": 900.0}
    return {"kind": "train", "step": step, **figures, **values}


def _lines(*entries: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def _write(folder: Path, *entries: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.jsonl").write_bytes(_lines(*entries))
    return folder


def test_an_odd_folder_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that may not be read is no run, and one whose name is no text is shown by a name that is."""
    for name in (b"good", b"fran\xe7ais"):
        _write(tmp_path / os.fsdecode(name), START)
    (tmp_path / "closed").mkdir()
    is_file = Path.is_file

    def refusing(path: Path) -> bool:
        if path.parent.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refusing)
    names = [run["name"] for run in list_runs([tmp_path])["runs"]]
    assert sorted(names) == ["fran\N{REPLACEMENT CHARACTER}ais", "good"]
    assert all(show_run([tmp_path], name) for name in names)


def test_the_log_is_read_without_torch() -> None:
    """A server that translates does not stand still for seconds when somebody first looks at the trainings."""
    code = "import sys, nmt.report.live; sys.exit(bool({'torch', 'numpy', 'pydantic'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(1, 400), max_size=12), chunk=st.integers(150, 600))
def test_a_growing_log_is_read_once(tmp_path_factory: pytest.TempPathFactory, cuts: list[int], chunk: int) -> None:
    """Each entry once and in order, however the bytes arrive, and however few are read at once."""
    path, expected = tmp_path_factory.mktemp("log") / "log.jsonl", [START, *(_train(step) for step in range(1, 9))]
    data, written, offset, found = _lines(*expected), 0, 0, list[dict[str, Any]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "CHUNK", chunk)
        for cut in [*cuts, *[len(data)] * 40]:
            written = min(len(data), written + cut)
            path.write_bytes(data[:written])
            part = read_after(path, offset)
            offset, found = part.offset, found + part.entries
    assert found == expected
    assert offset == len(data)


@settings(deadline=None, max_examples=60)
@given(data=st.binary(max_size=400), offset=st.integers(-5, 10**20))
def test_any_bytes_are_a_log(tmp_path_factory: pytest.TempPathFactory, data: bytes, offset: int) -> None:
    """Nothing raises, and reading goes on to the end of the last line."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "log.jsonl").write_bytes(_lines(START) + data + b"\n")
    shown = show_run([folder], folder.name, offset)
    assert shown is not None
    assert shown["offset"] == len(_lines(START)) + len(data) + 1
    json.dumps(shown, allow_nan=False)


def test_a_log_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    """When it has shrunk, or no line begins at the offset; a folder in its place is an empty log."""
    folder = _write(tmp_path / "run", START, _train(1), _train(2))
    end = read_after(folder / "log.jsonl", 0).offset
    before = live.identity_of(folder / "log.jsonl")
    RunFolder(folder).trim_log(1)
    assert live.identity_of(folder / "log.jsonl") != before
    assert [entry["step"] for entry in read_after(folder / "log.jsonl", end).entries] == [0, 1]
    assert [entry["step"] for entry in read_after(folder / "log.jsonl", 7).entries] == [0, 1]
    assert read_after(folder, 0) == read_after(tmp_path / "none", 5) == Chunk(0, [])


def test_giant_logs_and_lines_take_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line longer than a chunk is passed over when it has ended; until then, it is waited for."""
    monkeypatch.setattr(live, "CHUNK", 1000)
    path = _write(tmp_path / "run", START) / "log.jsonl"
    begin = path.stat().st_size
    with path.open("ab") as log:
        log.write(b'{"kind": "' + b"x" * 5000)
    assert read_after(path, begin) == Chunk(begin, [])
    with path.open("ab") as log:
        log.write(b"\n" + _lines(_train(1)))
    passed = read_after(path, begin)
    assert (passed.entries, passed.more) == ([], True)
    assert [entry["step"] for entry in read_after(path, passed.offset).entries] == [1]


def test_the_state_of_a_run(tmp_path: Path, trained: Path) -> None:
    """It trains while its owner gives signs of life; then it is finished if its model is the last one, or it has stopped."""
    folder = _write(tmp_path / "run", START, _train(10), _train(20))
    assert run_state("run", folder).state == "stopped"
    with only_trainer(folder):
        state = run_state("run", folder)
        owner = (folder / "lock").read_bytes()
    assert (state.state, state.step, state.updates, state.seconds, state.seconds_left) == (
        "training",
        20,
        100,
        40.0,
        160,
    )
    (folder / "lock").write_bytes(owner)  # as a killed process leaves it
    assert run_state("run", folder).state == "training"
    os.utime(folder / "lock", times=(0, time.time() - SILENT - 1))
    assert run_state("run", folder).state == "stopped"
    copied = shutil.copytree(trained, tmp_path / "copied")
    assert run_state("copied", copied).state == "finished"
    with (copied / "log.jsonl").open("ab") as log:
        log.write(_lines(_train(80)))
    assert run_state("copied", copied).state == "stopped"


def test_a_budget_says_what_is_left(tmp_path: Path) -> None:
    """Seconds of the budget, however slow the updates are; the updates are unknown until they are planned."""
    start = START | {"budget": 100.0, "updates": 1_000_000_000}
    folder = _write(tmp_path / "run", start)
    with only_trainer(folder):
        assert run_state("run", folder).updates is None
        _write(folder, start, _train(10, seconds=30.0))
        assert run_state("run", folder).seconds_left == 70


def test_runs_have_names(tmp_path: Path) -> None:
    """Of their folders; runs inside a folder are found, two of one name are told apart, and others are unknown."""
    for place in ("a/one", "b/one", "b/two"):
        _write(tmp_path / place, START, _train(1, loss=float("nan")))
    folders = [tmp_path / "a/one", tmp_path / "b", tmp_path / "none"]
    assert find_runs(folders) == {
        "one": tmp_path / "a/one",
        "one (2)": tmp_path / "b/one",
        "two": tmp_path / "b/two",
    }
    assert [run["name"] for run in list_runs(folders)["runs"]] == ["one", "one (2)", "two"]
    shown = show_run(folders, "two")
    assert shown is not None
    assert [entry.get("loss") for entry in shown["events"]] == [None, None]
    assert show_run(folders, "three") is None


def test_a_log_is_read_again_only_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that asks again and again opens no log that is as it was; what is added or replaced is seen, of any length."""
    for name in ("one", "two"):
        _write(tmp_path / name, START, _train(10))
    opened, real = list[str](), live.open_regular

    def counting(path: Path) -> Any:
        opened.append(path.parent.name)
        return real(path)

    def steps() -> list[int]:
        opened.clear()
        return [run["step"] for run in list_runs([tmp_path])["runs"]]

    monkeypatch.setattr(live, "open_regular", counting)
    assert (steps(), set(opened)) == ([10, 10], {"one", "two"})
    assert (steps(), opened) == ([10, 10], [])
    with (tmp_path / "two" / "log.jsonl").open("ab") as log:
        log.write(_lines(_train(20)))
    assert (steps(), set(opened)) == ([10, 20], {"two"})
    _write(tmp_path / "new", START, _train(30))
    (tmp_path / "new" / "log.jsonl").replace(tmp_path / "one" / "log.jsonl")  # as a training that resumes does
    (tmp_path / "new").rmdir()
    assert steps() == [30, 20]
    assert live.run_state("one", tmp_path / "one").updates == 100


def test_a_log_that_could_not_be_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without a free file descriptor for a moment does not forget the run until its log grows."""
    _write(tmp_path / "run", START, _train(10))

    def full(_: Path) -> Any:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(live, "open_regular", full)
        assert [run["step"] for run in list_runs([tmp_path])["runs"]] == [0]
    assert [run["step"] for run in list_runs([tmp_path])["runs"]] == [10]


def test_health_names_what_is_unusual() -> None:
    """Skipped updates, spikes, large gradients, slow stretches and padding; a healthy training has its padding alone."""
    log = [START, *(_train(step) for step in range(10, 100, 10))]
    assert [finding.kind for finding in findings(log)] == ["padding"]
    sick = [
        START | {"padding": 0.4},
        *log[1:],
        {"kind": "skipped", "step": 91, "pairs": [3]},
        {"kind": "spike", "step": 92},
    ]
    sick += [_train(100, gradient_norm=40.0), _train(110, tokens_per_second=100.0)]
    sick.append({"kind": "damaged", "step": 0, "checkpoint": "step-00000095", "reason": "cut short"})
    assert next(finding for finding in findings(sick) if finding.kind == "damaged").step == 95
    found = {finding.kind: finding.level for finding in findings(sick) if finding.kind != "damaged"}
    assert found == dict.fromkeys(["padding", "skipped", "spike", "gradient"], "warning") | {"speed": "note"}


def test_a_training_that_is_watched_is_the_same(tmp_path: Path, prepared: Prepared) -> None:
    """Reading after each event changes no byte of weights and model; each event and each sample is seen once."""
    for name in ("alone", "watched"):
        (tmp_path / name).mkdir()
    seen, samples, offset = list[dict[str, Any]](), list[dict[str, Any]](), 0

    def look(_: Event) -> None:
        nonlocal offset
        shown = show_run([tmp_path], "watched", offset)
        assert shown is not None
        assert shown["state"] == "training"
        offset = shown["offset"]
        seen.extend(shown["events"])
        samples.extend(shown["validation"])

    Trainer(make_recipe(), prepared, tmp_path / "alone", torch.device("cpu")).run()
    Trainer(make_recipe(), prepared, tmp_path / "watched", torch.device("cpu"), look).run()
    files = [sorted(path.relative_to(folder) for path in folder.rglob("*")) for folder in tmp_path.iterdir()]
    assert files[0] == files[1]
    weights = [path for path in files[0] if path.suffix == ".safetensors"]
    assert all(
        (tmp_path / "alone" / path).read_bytes() == (tmp_path / "watched" / path).read_bytes() for path in weights
    )
    assert seen == RunFolder(tmp_path / "watched").entries()
    assert [entry["step"] for entry in samples] == [entry["step"] for entry in seen if entry["kind"] == "validation"]
    assert (tmp_path / "alone" / "samples.jsonl").read_bytes() == (tmp_path / "watched" / "samples.jsonl").read_bytes()


def test_samples_are_the_same_sentences(trained: Path) -> None:
    """In each validation, with their attention: rows of the source's length that sum to one."""
    first, *_, last = RunFolder(trained).sampled()
    sources = [[sentence["source"] for sentence in entry["sentences"]] for entry in (first, last)]
    assert sources[0] == sources[1]
    assert len(set(sources[0])) == 4
    for sentence in last["sentences"][:2]:
        seen = sentence["attention"]
        assert len(seen["weights"]) == len(seen["target"])
        assert all(len(row) == len(seen["source"]) and abs(sum(row) - 1) < 0.02 for row in seen["weights"])
    assert last["sentences"][2]["attention"] is None


def test_samples_after_the_checkpoint_go(tmp_path: Path) -> None:
    """As the log's entries do when a training resumes."""
    folder = RunFolder(tmp_path)
    folder.create()
    for step in (1, 2, 3):
        folder.append_samples({"kind": "samples", "step": step, "sentences": []})
    folder.trim_log(2)
    assert [entry["step"] for entry in folder.sampled()] == [1, 2]
