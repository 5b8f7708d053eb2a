"""The same command once more, or with another budget: nothing that is sound is lost, nothing is done or said twice."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.corpus.prepared import Prepared
from nmt.errors import CheckpointError
from nmt.runtime.files import file_sha256
from nmt.storage import bundle, integrity
from nmt.storage import checkpoint as store
from nmt.storage.run_folder import RunFolder
from nmt.storage.run_log import UNPLANNED
from nmt.training.events import Damaged
from nmt.training.progress import Progress
from nmt.training.trainer import Trainer
from nmt.training.validation import Validation
from tiny import make_recipe

CPU = torch.device("cpu")


class Killed(BaseException):
    """Stands for the process going away."""


def _trainer(folder: Path, prepared: Prepared, budget: float | None = None, **training: Any) -> Trainer:
    folder.mkdir(exist_ok=True)
    return Trainer(make_recipe(training=training), prepared, folder, CPU, budget=budget)


def _alter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def _no_memory(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(integrity, "memory_there", lambda: 10)


def _failing_disk(patch: pytest.MonkeyPatch) -> None:
    opened = integrity.open_regular

    def fail(path: Path) -> Any:
        if path.name == integrity.STATE:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return opened(path)

    patch.setattr(integrity, "open_regular", fail)


@pytest.mark.parametrize("fault", [_no_memory, _failing_disk])
def test_what_cannot_be_read_now_stays(
    tmp_path: Path, prepared: Prepared, fault: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Checkpoints are removed for damage alone: where memory is short for a moment or a disk fails, a line says so."""
    _trainer(tmp_path / "run", prepared).run()
    there = store.checkpoints(tmp_path / "run/checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        fault(patch)
        with pytest.raises(integrity.UnreadableError, match=rf"{there[-1].name}: (weights|state)\.safetensors"):
            _trainer(tmp_path / "run", prepared).run()
    assert store.checkpoints(tmp_path / "run/checkpoints") == there
    assert not any(map(integrity.damage, there))


def test_if_no_checkpoint_is_whole_a_fine_tuning_begins_with_its_parent(tmp_path: Path, prepared: Prepared) -> None:
    """Again from `training.initialise`, as at its first start, and not from chance."""
    _trainer(tmp_path / "parent", prepared).run()
    parent = str(tmp_path / "parent/model")
    _trainer(tmp_path / "child", prepared, initialise=parent).run()
    for path in store.checkpoints(tmp_path / "child/checkpoints"):
        _alter(path / integrity.WEIGHTS)
    trainer = _trainer(tmp_path / "child", prepared, initialise=parent)
    expected = store.read_weights(Path(parent))
    assert all(torch.equal(weights, expected[name]) for name, weights in trainer.model.named_parameters())
    trainer.run()
    assert trainer.progress.step == trainer.config.updates


@pytest.mark.parametrize("average", [1, 2])
def test_a_model_is_made_of_whole_checkpoints(tmp_path: Path, prepared: Prepared, average: int) -> None:
    """One that was altered after it was written is named, and no model is written; the training itself is kept."""
    trainer = _trainer(tmp_path / "run", prepared, average=average, keep=3, metric="loss")
    saved = trainer.saver.save

    def altering(progress: Progress, validated: bool = True) -> None:
        saved(progress, validated)
        if progress.step == trainer.config.updates:
            folder = trainer.run_folder.checkpoints
            best = store.best_checkpoint(folder)
            _alter((best if average == 1 else store.checkpoints(folder)[-2]) / integrity.WEIGHTS)  # type: ignore[operator]

    trainer.saver.save = altering  # type: ignore[method-assign]
    with pytest.raises(CheckpointError, match=r"step-\d+: damaged: weights.safetensors was altered"):
        trainer.run()
    assert not (tmp_path / "run/model").exists()


@pytest.mark.parametrize("metric", ["loss", "bleu"])
def test_a_damaged_best_checkpoint_gives_way_to_the_next(tmp_path: Path, prepared: Prepared, metric: str) -> None:
    """A training that goes on says so, and takes the best of the checkpoints that are whole, though it is not the newest."""
    settings: dict[str, Any] = {"keep": 3, "metric": metric, "updates": 40, "validate_every": 10}
    stopped = _stopped(_worse_and_worse(_trainer(tmp_path / "run", prepared, **settings)), 35)
    assert stopped.best_step == 10
    folder = tmp_path / "run/checkpoints"
    _alter(folder / store.name_of(10) / integrity.WEIGHTS)
    trainer, events = _worse_and_worse(_trainer(tmp_path / "run", prepared, **settings)), list[Any]()
    trainer.saver._report = events.append
    progress = trainer.run()
    assert [event.checkpoint for event in events if isinstance(event, Damaged)] == [store.name_of(10)]
    assert progress.best_step == 20
    assert store.best_checkpoint(folder) == folder / store.name_of(20)
    assert (tmp_path / "run/model/card.json").exists()


def _worse_and_worse(trainer: Trainer) -> Trainer:
    """Makes each validation judge worse than the one before."""
    validate = trainer.validator.validate

    def worse(*given: Any) -> Validation:
        return replace(validate(*given), loss=1.0 + trainer.progress.step, bleu=99.0 - trainer.progress.step)

    trainer.validator.validate = worse  # type: ignore[method-assign]
    return trainer


@pytest.mark.parametrize("average", [1, 2])
def test_a_finished_training_is_not_finished_again(tmp_path: Path, prepared: Prepared, average: int) -> None:
    """The same command adds no line to the log and writes no file; a damaged model is made again, and so is another mean."""
    trainer = _trainer(tmp_path / "run", prepared, average=average)
    trainer.run()
    files = {path: (path.stat().st_mtime_ns, file_sha256(path)) for path in (tmp_path / "run/model").iterdir()}
    log = (tmp_path / "run/log.jsonl").read_bytes()
    again = _trainer(tmp_path / "run", prepared, average=average)
    assert again.run().step == trainer.progress.step
    assert {path: (path.stat().st_mtime_ns, file_sha256(path)) for path in files} == files
    assert (tmp_path / "run/log.jsonl").read_bytes() == log
    _alter(tmp_path / "run/model" / integrity.WEIGHTS)
    _trainer(tmp_path / "run", prepared, average=average).run()
    assert {path: file_sha256(path) for path in files} == {path: content for path, (_, content) in files.items()}
    _trainer(tmp_path / "run", prepared, average=3 - average).run()
    assert len(bundle.read_card(tmp_path / "run/model")["checkpoints"]) == 3 - average


@pytest.mark.parametrize("average", [1, 2])
def test_a_choice_is_logged_once(
    tmp_path: Path, prepared: Prepared, average: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the process is killed after it chose, before the model was written."""

    def kill(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(bundle, "write_bundle", kill)
        with pytest.raises(Killed):
            _trainer(tmp_path / "run", prepared, average=average).run()
    before = [entry for entry in RunFolder(tmp_path / "run").entries() if entry["kind"] in ("choice", "mean")]
    _trainer(tmp_path / "run", prepared, average=average).run()
    after = [entry for entry in RunFolder(tmp_path / "run").entries() if entry["kind"] in ("choice", "mean")]
    assert [entry["kind"] for entry in after] == [entry["kind"] for entry in before]


def _stopped(trainer: Trainer, step: int) -> Progress:
    """The progress of a training that is stopped after an update, and has saved it."""
    update = trainer.update

    def stopping() -> None:
        if trainer.progress.step == step:
            trainer.saver.save(trainer.progress, validated=False)
            raise Killed
        update()

    trainer.update = stopping  # type: ignore[method-assign]
    with pytest.raises(Killed):
        trainer.run()
    return trainer.progress


def test_another_budget_plans_anew(tmp_path: Path, prepared: Prepared) -> None:
    """A longer one goes on, the same one has nothing to do, and without a budget the recipe counts, validations too.

    One that is over already makes no further update, and leaves a model that is there.
    """
    budgeted: dict[str, Any] = {"schedule": "cosine", "validate_every": 4, "updates": 60}
    first = _trainer(tmp_path / "run", prepared, 0.5, **budgeted).run()
    assert first.updates == first.step < UNPLANNED
    assert _trainer(tmp_path / "run", prepared, 0.5, **budgeted).run().step == first.step
    trainer, planned = _trainer(tmp_path / "run", prepared, first.seconds + 1, **budgeted), list[int]()
    update = trainer.update

    def watched() -> None:
        planned.append(trainer.progress.updates)
        update()

    trainer.update = watched  # type: ignore[method-assign]
    longer = trainer.run()
    assert planned[0] < UNPLANNED  # so the first learning rate is not that of an endless training
    assert longer.step == longer.updates > first.step
    kept = (tmp_path / "run/model/card.json").read_bytes()
    assert _trainer(tmp_path / "run", prepared, first.seconds, **budgeted).run().step == longer.step
    assert (tmp_path / "run/model/card.json").read_bytes() == kept

    _stopped(_trainer(tmp_path / "early", prepared, 1e6, **budgeted), 1)
    trainer = _trainer(tmp_path / "early", prepared, **budgeted)
    assert trainer.run().step == 60
    validated = [entry["step"] for entry in RunFolder(tmp_path / "early").entries() if entry["kind"] == "validation"]
    assert validated == [5, *range(9, 60, 4), 60]

    _stopped(_trainer(tmp_path / "late", prepared, **budgeted), 30)
    late = _trainer(tmp_path / "late", prepared, 0.01, **budgeted).run()
    assert late.step == late.updates == 30
    assert json.loads((tmp_path / "late/model/card.json").read_text())["budget_seconds"] == 0.01
