"""Killed, stopped, damaged: training goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from command import run
from nmt.config.reading import recipe_to_toml
from nmt.corpus.prepared import Prepared
from nmt.errors import CheckpointError, ConfigError, NmtError
from nmt.fast.kernels import kernels
from nmt.runtime.files import file_sha256
from nmt.runtime.signals import Interrupted, only_trainer, stop_signals
from nmt.storage import checkpoint as store
from nmt.storage import integrity
from nmt.training.events import logged
from nmt.training.trainer import Trainer
from nmt.training.updater import Outcome
from nmt_data.prepare import prepare
from tiny import make_recipe

CPU = torch.device("cpu")
RNN = {"kind": "rnn", "embedding": 16, "hidden": 16}
PACKED = {"kind": "transformer", "width": 32, "feed_forward": 64, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}
UNBRIDGED = {**RNN, "bridge": "zero"}
BOTTLENECK = {"kind": "rnn", "attention": "none", "cell": "lstm", "layers": 2, "embedding": 16, "hidden": 16}


class Killed(BaseException):
    """Stands for the process going away."""


def _run(folder: Path, prepared: Prepared, model: dict[str, Any] | None = None, **training: Any) -> Path:
    folder.mkdir(exist_ok=True)
    Trainer(make_recipe(model, training=training), prepared, folder, CPU).run()
    return folder


def _stopped_at(step: int) -> type[Trainer]:
    """A trainer that receives SIGTERM in the middle of an update."""

    class Signalled(Trainer):
        def _step(self, batches: Any, rate: float) -> Outcome:
            if self.progress.step == step:
                os.kill(os.getpid(), signal.SIGTERM)
            return super()._step(batches, rate)

    return Signalled


def _trace(folder: Path) -> list[dict[str, Any]]:
    """Log entries without what is a matter of time."""
    timing = {"seconds", "tokens_per_second", "utilisation", "memory_mb"}
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in entry.items() if k not in timing}
        for entry in entries
        if entry["kind"] in ("train", "validation")
    ]


def _weights(folder: Path) -> str:
    return file_sha256(store.checkpoints(folder / "checkpoints")[-1] / integrity.WEIGHTS)


@dataclass(frozen=True)
class Whole:
    """A training without interruption."""

    model: dict[str, Any] | None
    training: dict[str, Any]
    weights: str
    trace: list[dict[str, Any]]


@pytest.fixture(
    scope="module",
    params=[(None, {}), (PACKED, {}), (RNN, {}), (UNBRIDGED, {}), (BOTTLENECK, {}), (None, {"optimizer": "muon"})],
    ids=["transformer", "packed", "attention", "unbridged", "bottleneck", "muon"],
)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Whole:
    """Of each family."""
    model, training = request.param
    folder = _run(tmp_path_factory.mktemp("whole"), prepared, model, **training)
    return Whole(model, training, _weights(folder), _trace(folder))


@pytest.mark.parametrize("step", [1, 2, 4, 5])
def test_interrupted_and_resumed_is_uninterrupted(tmp_path: Path, prepared: Prepared, whole: Whole, step: int) -> None:
    """Killed within any update: the same weights, to the bit, and the same loss trace, with dropout on."""

    class Mortal(Trainer):
        def _step(self, batches: Any, rate: float) -> Outcome:
            if self.progress.step == step:
                raise Killed
            return super()._step(batches, rate)

    folder = tmp_path / "killed"
    folder.mkdir()
    with pytest.raises(Killed):
        Mortal(make_recipe(whole.model, training=whole.training), prepared, folder, CPU).run()
    _run(folder, prepared, whole.model, **whole.training)
    assert _weights(folder) == whole.weights
    assert _trace(folder) == whole.trace


def test_a_training_begun_without_kernels_goes_on_without_them(tmp_path: Path, prepared: Prepared) -> None:
    """Though they are there by then: the same weights, to the bit, as if they were not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nmt.training.arithmetic.kernels", lambda: None)
        whole = _run(tmp_path / "whole", prepared, PACKED)
        folder = _run(tmp_path / "later", prepared, PACKED, updates=3, schedule="constant")
        plain = _run(tmp_path / "plain", prepared, PACKED, schedule="constant")
    _run(folder, prepared, PACKED, schedule="constant")
    assert _weights(folder) == _weights(plain)
    with_kernels = _run(tmp_path / "kernels", prepared, PACKED)
    assert (_weights(with_kernels) == _weights(whole)) == (kernels() is None)


def test_signals_of_different_kinds_are_one_wish_to_stop() -> None:
    """A launcher answers ^C with SIGTERM: the update ends all the same."""
    with stop_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert stop.number == signal.SIGTERM


@pytest.mark.parametrize("model", [None, RNN, BOTTLENECK], ids=["transformer", "attention", "bottleneck"])
def test_bf16_trains_close_to_fp32(tmp_path: Path, prepared: Prepared, model: dict[str, Any] | None) -> None:
    """Where it is asked for: finite, and near the losses of fp32 after a few updates."""
    losses = [
        _trace(_run(tmp_path / precision, prepared, model, precision=precision))[-1]["loss"]
        for precision in ("fp32", "bf16")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.parametrize("call", range(1, 9))
def test_a_crash_in_the_middle_of_saving_loses_nothing(tmp_path: Path, prepared: Prepared, call: int) -> None:
    """At the k-th rename or fsync, whichever comes: the next start finds a whole checkpoint, or begins anew."""
    whole = _run(tmp_path / "whole", prepared)
    folder = tmp_path / "crashed"
    counts = {"left": 5 * call}

    def crashing(function: Any) -> Any:
        def wrapper(*arguments: Any) -> Any:
            counts["left"] -= 1
            if counts["left"] == 0:
                raise Killed
            return function(*arguments)

        return wrapper

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", crashing(os.fsync))
        patch.setattr(Path, "rename", crashing(Path.rename))
        with suppress(Killed):
            _run(folder, prepared)
    _run(folder, prepared)
    assert _weights(folder) == _weights(whole)
    assert _trace(folder) == _trace(whole)
    assert not list(folder.rglob(".tmp-*"))


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path, prepared: Prepared) -> None:
    """After one flipped bit, training resumes from the previous checkpoint and ends with identical weights."""
    folder = _run(tmp_path / "run", prepared)
    expected, trace = _weights(folder), _trace(folder)
    newest = store.checkpoints(folder / "checkpoints")[-1]
    weights = newest / integrity.WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(bytes(data))
    reports: list[dict[str, Any]] = []
    Trainer(make_recipe(), prepared, folder, CPU, lambda event: reports.append(logged(event))).run()
    assert [entry["checkpoint"] for entry in reports if entry["kind"] == "damaged"] == [newest.name]
    assert _weights(folder) == expected
    assert _trace(folder) == trace


def test_a_changed_recipe_is_refused_by_name_and_a_longer_one_goes_on(tmp_path: Path, prepared: Prepared) -> None:
    """Resuming with another learning rate is an error naming it; more updates continue the training."""
    folder = _run(tmp_path / "run", prepared)
    with pytest.raises(ConfigError, match=r"training.learning_rate \(was 0.002, now 0.5\)"):
        _run(folder, prepared, learning_rate=0.5)
    _run(folder, prepared, updates=9)
    assert store.checkpoints(folder / "checkpoints")[-1].name == "step-00000009"


def test_another_corpus_is_refused(tmp_path: Path, prepared: Prepared) -> None:
    """Training does not resume on data other than those it began with."""
    folder = _run(tmp_path / "run", prepared)
    other = prepare(make_recipe(data={"limit": 99}))
    with pytest.raises(CheckpointError, match="another corpus or tokenizer"):
        Trainer(make_recipe(), other, folder, CPU).run()


def test_a_second_training_in_the_same_folder_is_refused(tmp_path: Path, prepared: Prepared) -> None:
    """A folder that a running process trains in is locked, and is free again afterwards."""
    folder = tmp_path / "run"
    folder.mkdir()
    with only_trainer(folder), pytest.raises(NmtError, match=f"is being trained by process {os.getpid()}"):
        Trainer(make_recipe(), prepared, folder, CPU).run()
    Trainer(make_recipe(), prepared, folder, CPU).run()


def test_a_training_that_was_taken_over_saves_nothing_more(tmp_path: Path, prepared: Prepared) -> None:
    """Its machine slept for so long that another one went on: the folder is that one's."""

    class Asleep(Trainer):
        def _step(self, batches: Any, rate: float) -> Outcome:
            if self.progress.step == 4:
                (folder / "lock").write_text("7 on elsewhere 00000000-11111111")
            return super()._step(batches, rate)

    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(NmtError, match=r"is being trained by process 7 on elsewhere: .* took over"):
        Asleep(make_recipe(), prepared, folder, CPU).run()
    assert store.checkpoints(folder / "checkpoints")[-1].name == "step-00000003"


def test_a_loss_that_is_not_finite_is_skipped_and_never_saved(tmp_path: Path, prepared: Prepared) -> None:
    """Counted, reported with its pairs; after ten in a row training stops and says why, however often it was resumed."""

    class Sick(Trainer):
        sick: set[int]

        def _step(self, batches: Any, rate: float) -> Outcome:
            parameter = next(self.model.parameters())
            hook = parameter.register_hook(lambda gradient: gradient * float("inf"))
            if self.progress.step not in self.sick:
                hook.remove()
            outcome = super()._step(batches, rate)
            hook.remove()
            return outcome

    reports: list[dict[str, Any]] = []
    folder = tmp_path / "run"
    folder.mkdir()
    trainer = Sick(make_recipe(), prepared, folder, CPU, lambda event: reports.append(logged(event)))
    trainer.sick = {2, 5}
    assert trainer.run().skipped == 2
    assert [entry["step"] for entry in reports if entry["kind"] == "skipped"] == [2, 5]
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())
    for _ in range(2):  # begun again after the last checkpoint it stops at the same update
        hopeless = Sick(make_recipe(training={"updates": 40}), prepared, tmp_path / "run", CPU)
        hopeless.sick = set(range(7, 40))
        with pytest.raises(NmtError, match="not finite in 10 updates in a row, last at update 16"):
            hopeless.run()


def test_accumulated_batches_weigh_by_tokens(tmp_path: Path, prepared: Prepared) -> None:
    """One update of eight small batches is one update of the same sentences in one batch."""
    from nmt.training.batches import collate

    recipe = make_recipe({"kind": "rnn", "embedding": 16, "hidden": 16, "dropout": 0.0})
    rows = torch.arange(64).numpy()
    gradients: list[list[torch.Tensor]] = []
    for parts in (1, 8):
        trainer = Trainer(recipe, prepared, tmp_path, CPU)
        trainer.model.double()
        batches = [collate(prepared.train, part) for part in rows.reshape(parts, -1)]
        trainer.updater._gradients(1, batches, sum(batch.tokens for batch in batches))
        gradients.append([parameter.grad for parameter in trainer.model.parameters() if parameter.grad is not None])
    for one, eight in zip(*gradients, strict=True):
        torch.testing.assert_close(one, eight, rtol=1e-9, atol=1e-12)


def test_signals_save_and_say_how_to_go_on(tmp_path: Path, prepared: Prepared) -> None:
    """SIGTERM ends after the update at hand; the same command then ends as if it had not come."""
    whole = _run(tmp_path / "whole", prepared)

    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(Interrupted, match="stopped by SIGTERM after update 2; the same command goes on") as stop:
        _stopped_at(2)(make_recipe(), prepared, folder, CPU).run()
    assert stop.value.exit_code == 143
    _run(folder, prepared)
    assert _weights(folder) == _weights(whole)


@pytest.mark.parametrize("step", [2, 4])
@pytest.mark.parametrize("killed", [False, True])
def test_a_stopped_training_can_be_finished_where_it_is(
    tmp_path: Path, prepared: Prepared, step: int, killed: bool
) -> None:
    """With `updates` lowered to where it stopped, it ends as if it had been asked for so many from the beginning.

    That holds before the first validation and after one, and if it is killed once more between validating and saving.
    """
    whole = _run(tmp_path / "whole", prepared, updates=step, schedule="constant")
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(Interrupted):
        _stopped_at(step)(make_recipe(training={"schedule": "constant"}), prepared, folder, CPU).run()
    if killed:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "_save", Mock(side_effect=Killed))
            with pytest.raises(Killed):
                _run(folder, prepared, updates=step, schedule="constant")
    _run(folder, prepared, updates=step, schedule="constant")
    unplanned = [[entry | {"updates": None} for entry in _trace(path)] for path in (folder, whole)]
    assert unplanned[0] == unplanned[1]
    samples = [(path / "samples.jsonl").read_bytes() for path in (folder, whole)]
    assert samples[0] == samples[1]
    assert _weights(folder) == _weights(whole)
    cards = [json.loads((path / "model" / "card.json").read_bytes()) for path in (folder, whole)]
    assert cards[0]["validation"] == cards[1]["validation"]
    assert cards[0]["checkpoints"] == cards[1]["checkpoints"]


def test_a_training_stopped_beyond_its_patience_is_validated(tmp_path: Path, prepared: Prepared) -> None:
    """A checkpoint that no validation has judged is judged before the end, and training goes on if it is the best."""
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(Interrupted):
        _stopped_at(5)(make_recipe(training={"updates": 9, "validate_every": 2}), prepared, folder, CPU).run()
    path = store.checkpoints(folder / "checkpoints")[-1]
    state = json.loads((path / store.PROGRESS).read_bytes())
    (path / store.PROGRESS).write_text(json.dumps(state | {"stale": 2, "best_score": -1.0, "best_loss": 1e9}))
    integrity.write_checkpoint_manifest(path)
    impatient = make_recipe(training={"updates": 9, "validate_every": 2, "patience": 2})
    progress = Trainer(impatient, prepared, folder, CPU).run()
    assert [entry["step"] for entry in _trace(folder) if entry["kind"] == "validation"][:3] == [2, 4, 5]
    assert progress.step > 5


@pytest.mark.slow
def test_random_kills_of_the_command(tmp_path: Path, home: Path) -> None:
    """Kill -9 at random instants, through the command line: it always goes on, and ends with the same bytes."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_to_toml(make_recipe(training={"updates": 60, "validate_every": 4, "log_every": 3})))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(root / part) for part in ("", "cli", "data"))}

    def command(folder: Path) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-m", "nmt_cli", "train", str(recipe), "--run", str(folder), "--device", "cpu"]
        return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)

    assert run("train", recipe, "--run", tmp_path / "whole", "--device", "cpu").exit_code == 0
    generator, kills = random.Random(1), 0
    folder = tmp_path / "killed"
    while True:
        process = command(folder)
        while process.poll() is None:
            begun = any((folder / "checkpoints").glob("step-*")) if folder.exists() else False
            if begun and kills < 3:
                time.sleep(generator.random() * 0.4)
                process.kill()
                kills += 1
                break
            time.sleep(0.02)
        assert process.stderr
        complaints = process.stderr.read().decode()
        process.stderr.close()
        if process.wait(60) == 0:
            break
        assert process.returncode == -signal.SIGKILL, complaints
    assert kills >= 3
    assert _weights(folder) == _weights(tmp_path / "whole")
    assert _trace(folder) == _trace(tmp_path / "whole")


def test_an_interruption_does_not_change_what_is_averaged(tmp_path: Path, prepared: Prepared) -> None:
    """The checkpoint of a signal, between validations, is no part of the mean, and pushes none out."""
    recipe = make_recipe(training={"average": 3, "updates": 9, "validate_every": 2, "ema": 0.5})

    for name, kind in (("whole", Trainer), ("parts", _stopped_at(7)), ("parts", Trainer)):
        (tmp_path / name).mkdir(exist_ok=True)
        with suppress(Interrupted):
            kind(recipe, prepared, tmp_path / name, CPU).run()
    cards = [json.loads((tmp_path / name / "model" / "card.json").read_text()) for name in ("whole", "parts")]
    assert cards[0]["checkpoints"] == cards[1]["checkpoints"] == ["step-00000006", "step-00000008", "step-00000009"]
    bundles = [file_sha256(tmp_path / name / "model" / integrity.WEIGHTS) for name in ("whole", "parts")]
    assert bundles[0] == bundles[1]
    assert not (tmp_path / "parts" / "checkpoints" / "step-00000007").exists()
