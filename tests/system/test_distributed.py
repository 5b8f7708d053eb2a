"""Several processes train one model as one process would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from command import environment
from nmt.config.reading import recipe_to_toml
from nmt.storage import bundle
from nmt.storage import checkpoint as store
from ranks import gather_together, train_together
from tiny import make_recipe

ROOT = Path(__file__).parents[2]
_SCRIPT = ROOT / "tests/helpers/ranks.py"

_BARE: dict[str, dict[str, Any]] = {
    "transformer": {"kind": "transformer", "width": 32, "feed_forward": 64, "encoder_layers": 1, "decoder_layers": 3},
    "attention": {"kind": "rnn", "embedding": 16, "hidden": 16},
    "convolution": {"kind": "convolution", "embedding": 16, "hidden": 16},
}
_SHAPES: dict[str, dict[str, Any]] = {name: {**shape, "dropout": 0.0} for name, shape in _BARE.items()}
_SHAPES["visual"] = {"kind": "visual", "height": 8, "window": 12, "stride": 8, "base": _SHAPES["attention"]}
_SPELLED = {"joint": False, "source_kind": "byte", "kind": "word"}


def _surroundings() -> dict[str, str]:
    return {**environment(), "PYTHONWARNINGS": "ignore"}


def _recipe(folder: Path, model: str, training: dict[str, Any]) -> None:
    """Without dropout, so that nothing is drawn."""
    folder.mkdir(exist_ok=True)
    tokenizer = _SPELLED if model == "visual" else {}
    training = {"schedule": "constant", "batch_tokens": 96, "accumulate": 2, "validate_every": 2, **training}
    recipe = make_recipe(_SHAPES[model], tokenizer=tokenizer, training=training)
    (folder / "tiny.toml").write_text(recipe_to_toml(recipe))


def _train(
    folder: Path, processes: int, updates: str = "6", *options: str, model: str = "transformer", **training: Any
) -> None:
    """Trains in float64 (or `--fp32`), to one number of updates after another."""
    _recipe(folder, model, training)
    assert train_together(folder, processes, updates, *options) == [0] * processes


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
    for count in (1, 2):
        _train(tmp_path / str(count), count, model=model)
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
    _train(tmp_path / "whole", 1, model=model, **options)
    _train(tmp_path / "shares", 2, "4,6", model=model, shard=True, **options)
    one, two = (torch.load(tmp_path / name / "gradients.pt", weights_only=True) for name in ("whole", "shares"))
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, rtol=1e-6, atol=1e-9)
    for place in ("checkpoints/step-00000006", "model"):
        weights = [store.read_weights(tmp_path / name / place) for name in ("whole", "shares")]
        torch.testing.assert_close(weights[1], weights[0], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_a_divided_model_trains_in_fp32(tmp_path: Path, home: Path) -> None:
    """The precision of trainings on a CPU: the gradients are those of one process, but for rounding."""
    _train(tmp_path / "whole", 1, "2", "--fp32")
    _train(tmp_path / "shares", 2, "2", "--fp32", shard=True)
    one, two = (torch.load(tmp_path / name / "gradients.pt", weights_only=True) for name in ("whole", "shares"))
    for name, gradient in one.items():
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(two[name], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_shares_come_together_in_order(home: Path) -> None:
    """Also empty lines, and where some processes or all of them have no line."""
    assert gather_together(3, ["", "a\u2028b", "", "c\0", "d", "\0", ""]) == [0] * 3


@pytest.mark.slow
def test_processes_share_running_statistics(tmp_path: Path, home: Path) -> None:
    """Of batch norms: a training that is resumed, or whose model is divided, has the losses and weights of one that is not."""
    options: dict[str, Any] = {"model": "visual"}
    _train(tmp_path / "whole", 2, **options)
    _train(tmp_path / "resumed", 2, "4,6", **options)
    _train(tmp_path / "shares", 2, "4,6", shard=True, **options)
    place = "checkpoints/step-00000006"
    weights = [store.read_weights(tmp_path / name / place) for name in ("whole", "resumed", "shares")]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(weights[2], weights[0], rtol=1e-9, atol=1e-9)
    assert weights[0]["image.norm.mean"].abs().min() > 1e-4
    assert _trace(tmp_path / "resumed") == _trace(tmp_path / "shares") == _trace(tmp_path / "whole")


@pytest.mark.thorough
def test_the_number_of_processes_may_change_in_between(tmp_path: Path, home: Path) -> None:
    """Four updates of two processes and two of one are six of one: order and batches do not depend on it."""
    _train(tmp_path / "whole", 1)
    _train(tmp_path / "mixed", 2, "4")
    _train(tmp_path / "mixed", 1, "6")
    weights = [store.read_weights(tmp_path / name / "checkpoints" / "step-00000006") for name in ("whole", "mixed")]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_training(tmp_path: Path, home: Path) -> None:
    """With an error instead of waiting for ever."""
    _recipe(tmp_path / "run", "transformer", {})
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launcher, _SCRIPT, tmp_path / "run", "6", "--die"], env=_surroundings(), timeout=240, check=False
    )
    assert done.returncode == 1
    assert (tmp_path / "run" / "log.jsonl").exists()
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.slow
def test_the_command_runs_under_torchrun(tmp_path: Path, home: Path) -> None:
    """As the README has it; what it prints comes once."""
    (tmp_path / "tiny.toml").write_text(recipe_to_toml(make_recipe()))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = ["-m", "--", "nmt_cli", "train", "tiny.toml", "--run", "run", "--device", "cpu"]
    done = subprocess.run(
        [*launcher, *arguments], cwd=tmp_path, env=_surroundings(), timeout=240, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == "run/model"
    assert done.stderr.decode().count("starting:") == 1
    assert bundle.load_model(tmp_path / "run").card["processes"] == 2
