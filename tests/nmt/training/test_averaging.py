"""Means of weights: over updates while training, and of checkpoints afterwards."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.corpus.prepared import Prepared
from nmt.errors import CheckpointError, ConfigError
from nmt.storage import bundle as bundles
from nmt.storage import checkpoint as store
from nmt.training.averaging import RunningMean, mean_of_checkpoints
from nmt.training.events import logged
from nmt.training.trainer import Trainer
from nmt_cli.training_display import TrainingDisplay
from tiny import make_recipe

CPU = torch.device("cpu")


RNN = {"kind": "rnn", "embedding": 16, "hidden": 16}


def test_the_running_mean_is_its_recurrence() -> None:
    """The exponential moving average of the weights follows its formula with a warmed-up decay."""
    model = torch.nn.Linear(2, 1, bias=False)
    mean = RunningMean(model, 0.5)
    expected = model.weight.detach().clone()
    for number in range(1, 8):
        with torch.no_grad():
            model.weight += number
        mean.update(number)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(mean.weights["weight"], expected)


def test_a_run_with_a_running_mean_validates_saves_and_resumes_it(tmp_path: Path, prepared: Prepared) -> None:
    """Checkpoints hold the mean to translate with and the weights to train on: stopped and resumed is uninterrupted."""
    trainers: list[Trainer] = []
    for name, updates in (("whole", 6), ("parts", 3), ("parts", 6)):
        (tmp_path / name).mkdir(exist_ok=True)
        recipe = make_recipe(training={"ema": 0.9, "updates": updates, "schedule": "constant", "warmup": 1})
        trainers.append(Trainer(recipe, prepared, tmp_path / name, CPU))
        trainers[-1].run()
    trainer = trainers[-1]
    whole, parts = (
        store.read_weights(tmp_path / name / "checkpoints" / "step-00000006") for name in ("whole", "parts")
    )
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)
    assert trainer.updater.mean
    trained = dict(trainer.model.named_parameters())
    torch.testing.assert_close(whole, trainer.updater.mean.weights)
    assert any(not torch.equal(whole[name], trained[name]) for name in whole)


def test_the_mean_of_checkpoints_is_the_model(tmp_path: Path, prepared: Prepared) -> None:
    """`training.average` makes the bundle of the last checkpoints, and says what it scores."""
    reports: list[dict[str, Any]] = []
    recipe = make_recipe(training={"average": 2, "validate_every": 2})
    Trainer(recipe, prepared, tmp_path, CPU, lambda event: reports.append(logged(event))).run()
    saved = store.checkpoints(tmp_path / "checkpoints")[-2:]
    weights = [store.read_weights(path) for path in saved]
    bundle = store.read_weights(tmp_path / "model")
    for name, value in bundle.items():
        torch.testing.assert_close(value, (weights[0][name] + weights[1][name]) / 2)
    assert reports[-1]["kind"] == "mean"
    card = bundles.load_model(tmp_path).card
    assert card["checkpoints"] == [path.name for path in saved]
    other = tmp_path / "other"
    other.mkdir()
    Trainer(make_recipe(RNN), prepared, other, CPU).run()
    strangers = [saved[0], store.checkpoints(other / "checkpoints")[0]]
    with pytest.raises(CheckpointError, match="not of the same model"):
        mean_of_checkpoints(strangers)


@pytest.mark.parametrize("validate_every", [3, 2])
def test_fewer_checkpoints_than_asked_are_said(
    tmp_path: Path, prepared: Prepared, capsys: pytest.CaptureFixture[str], validate_every: int
) -> None:
    """Also a single one; the mean of as many as were asked for says nothing."""
    recipe = make_recipe(training={"average": 3, "updates": 6, "validate_every": validate_every})
    with TrainingDisplay() as display:
        Trainer(recipe, prepared, tmp_path, CPU, display.report).run()
    said = re.findall(r"training.average = 3: the model is the mean of the (\d) that", capsys.readouterr().err)
    assert said == (["2"] if validate_every == 3 else [])


def test_more_checkpoints_to_average_than_are_kept_are_refused() -> None:
    """A recipe must keep at least as many checkpoints as it averages."""
    with pytest.raises(ConfigError, match=r"training.keep must be at least training.average = 9, got 3"):
        make_recipe(training={"average": 9})
