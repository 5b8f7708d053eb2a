"""Several processes train one model as one process would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.config.reading import recipe_to_toml
from nmt.storage import bundle
from nmt.storage import checkpoint as store
from tiny import make_recipe

ROOT = Path(__file__).parents[2]
_SCRIPT = """
import os, sys
from pathlib import Path
import torch
import torch.distributed as dist
from nmt.runtime.processes import joined, whole
from nmt.config.reading import load_recipe
from nmt.training.trainer import Trainer
from nmt_data.prepare import prepare

folder, device = Path(sys.argv[1]), torch.device("cpu")
torch.set_num_threads(1)
if "--fp32" not in sys.argv:
    torch.set_default_dtype(torch.float64)

def train(world, updates):
    recipe = load_recipe(folder / "tiny.toml", [f"training.updates={updates}"])
    trainer = Trainer(recipe, prepare(recipe), folder, device, world=world)
    kept = trainer.updater._share_gradients

    def watch(parameters, sums):
        kept(parameters, sums)
        gradients = {str(index): whole(part.grad) for index, part in enumerate(parameters)}
        if world.leads and trainer.progress.step == 1:
            torch.save(gradients, folder / "gradients.pt")

    trainer.updater._share_gradients = watch
    if "--die" in sys.argv and world.rank == 1:
        step = trainer._step

        def dying(batches, rate):
            if trainer.progress.step == 2:
                os._exit(7)
            return step(batches, rate)

        trainer._step = dying
    trainer.run()

with joined(device) as world:
    for updates in sys.argv[2].split(","):
        train(world, updates)
"""


_BARE: dict[str, dict[str, Any]] = {
    "transformer": {"kind": "transformer", "width": 32, "feed_forward": 64, "encoder_layers": 1, "decoder_layers": 3},
    "attention": {"kind": "rnn", "embedding": 16, "hidden": 16},
    "convolution": {"kind": "convolution", "embedding": 16, "hidden": 16},
}
_SHAPES: dict[str, dict[str, Any]] = {name: {**shape, "dropout": 0.0} for name, shape in _BARE.items()}
_SHAPES["visual"] = {"kind": "visual", "height": 8, "window": 12, "stride": 8, "base": _SHAPES["attention"]}
_SPELLED = {"joint": False, "source_kind": "byte", "kind": "word"}


def _train(
    folder: Path, processes: int, updates: str = "6", *options: str, model: str = "transformer", **training: Any
) -> int:
    """Trains in float64 (or `--fp32`) without dropout, to one number of updates after another; returns the exit code."""
    folder.mkdir(exist_ok=True)
    tokenizer = _SPELLED if model == "visual" else {}
    training = {"schedule": "constant", "batch_tokens": 96, "accumulate": 2, "validate_every": 2, **training}
    (folder / "tiny.toml").write_text(
        recipe_to_toml(make_recipe(_SHAPES[model], tokenizer=tokenizer, training=training))
    )
    (folder / "script.py").write_text(_SCRIPT)
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "cli", "data"))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    arguments = [sys.executable, *launcher, folder / "script.py", folder, updates, *options]
    done = subprocess.run(arguments, env=environment, timeout=240, check=False, capture_output=True, text=True)
    sys.stderr.write(done.stderr[-6000:])  # pytest shows it where a test fails
    return done.returncode


def _trace(folder: Path) -> list[tuple[Any, ...]]:
    """Losses and scores of the log, to be compared but for rounding."""
    return [
        (entry["kind"], entry["step"], pytest.approx(entry["loss"], rel=1e-9), entry.get("bleu"))
        for entry in map(json.loads, (folder / "log.jsonl").read_text().splitlines())
        if entry["kind"] in ("train", "validation")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["transformer", pytest.param("attention", marks=pytest.mark.thorough)])
def test_two_processes_are_one(tmp_path: Path, home: Path, model: str) -> None:
    """The same gradients, and in float64 the same weights after six updates; the same loss trace."""
    assert [_train(tmp_path / str(count), count, model=model) for count in (1, 2)] == [0, 0]
    one, two = (torch.load(tmp_path / name / "gradients.pt", weights_only=True) for name in ("1", "2"))
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, rtol=1e-6, atol=1e-9)
    weights = [store.read_weights(tmp_path / name / "checkpoints" / "step-00000006") for name in ("1", "2")]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-9, atol=1e-9)
    assert _trace(tmp_path / "2") == _trace(tmp_path / "1")


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["transformer", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("attention", "convolution"))]
)
def test_a_divided_model_is_the_whole_one(tmp_path: Path, home: Path, model: str) -> None:
    """Each process holds half of weights, gradients and moments: what comes out, also after resuming, is the same."""
    options: dict[str, Any] = {"ema": 0.9, "average": 2, "recompute": model == "transformer"}
    assert _train(tmp_path / "whole", 1, model=model, **options) == 0
    assert _train(tmp_path / "shares", 2, "4,6", model=model, shard=True, **options) == 0
    one, two = (torch.load(tmp_path / name / "gradients.pt", weights_only=True) for name in ("whole", "shares"))
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, rtol=1e-6, atol=1e-9)
    for place in ("checkpoints/step-00000006", "model"):
        weights = [store.read_weights(tmp_path / name / place) for name in ("whole", "shares")]
        torch.testing.assert_close(weights[1], weights[0], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_a_divided_model_trains_in_fp32(tmp_path: Path, home: Path) -> None:
    """The precision of trainings on a CPU: the gradients are those of one process, but for rounding."""
    assert _train(tmp_path / "whole", 1, "2", "--fp32") == 0
    assert _train(tmp_path / "shares", 2, "2", "--fp32", shard=True) == 0
    one, two = (torch.load(tmp_path / name / "gradients.pt", weights_only=True) for name in ("whole", "shares"))
    for name, gradient in one.items():
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(two[name], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_processes_share_running_statistics(tmp_path: Path, home: Path) -> None:
    """Of batch norms: a training that is resumed, or whose model is divided, has the losses and weights of one that is not."""
    options: dict[str, Any] = {"model": "visual"}
    assert _train(tmp_path / "whole", 2, **options) == 0
    assert _train(tmp_path / "resumed", 2, "4,6", **options) == 0
    assert _train(tmp_path / "shares", 2, "4,6", shard=True, **options) == 0
    place = "checkpoints/step-00000006"
    weights = [store.read_weights(tmp_path / name / place) for name in ("whole", "resumed", "shares")]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(weights[2], weights[0], rtol=1e-9, atol=1e-9)
    assert weights[0]["image.norm.mean"].abs().min() > 1e-4
    assert _trace(tmp_path / "resumed") == _trace(tmp_path / "shares") == _trace(tmp_path / "whole")


@pytest.mark.thorough
def test_the_number_of_processes_may_change_in_between(tmp_path: Path, home: Path) -> None:
    """Four updates of two processes and two of one are six of one: order and batches do not depend on it."""
    assert _train(tmp_path / "whole", 1) == 0
    assert _train(tmp_path / "mixed", 2, "4") == 0
    assert _train(tmp_path / "mixed", 1, "6") == 0
    weights = [store.read_weights(tmp_path / name / "checkpoints" / "step-00000006") for name in ("whole", "mixed")]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_training(tmp_path: Path, home: Path) -> None:
    """With an error instead of waiting for ever."""
    assert _train(tmp_path / "run", 2, "6", "--die") != 0
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.slow
def test_the_command_runs_under_torchrun(tmp_path: Path, home: Path) -> None:
    """As the README has it; what it prints comes once."""
    (tmp_path / "tiny.toml").write_text(recipe_to_toml(make_recipe()))
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "cli", "data"))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = ["-m", "--", "nmt_cli", "train", "tiny.toml", "--run", "run", "--device", "cpu"]
    done = subprocess.run(
        [*launcher, *arguments], cwd=tmp_path, env=environment, timeout=240, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == "run/model"
    assert done.stderr.decode().count("starting:") == 1
    assert bundle.load_model(tmp_path / "run").card["processes"] == 2
