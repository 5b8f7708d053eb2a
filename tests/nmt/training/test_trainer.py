"""What a training reports, and which of its checkpoints it calls the best."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nmt.corpus.prepared import Prepared
from nmt.errors import ConfigError, NmtError
from nmt.scoring.metrics import bleu
from nmt.storage import bundle
from nmt.storage import checkpoint as store
from nmt.storage.run_log import UNPLANNED
from nmt.training.budget import check_budget, fit_budget
from nmt.training.events import logged
from nmt.training.progress import Progress
from nmt.training.trainer import Trainer
from nmt.training.validation import Validation, Validator
from nmt.translation.translator import Translator
from tiny import make_recipe

CPU = torch.device("cpu")


RNN = {"kind": "rnn", "embedding": 16, "hidden": 16}


def test_a_spike_names_its_batch(tmp_path: Path, prepared: Prepared) -> None:
    """A loss far above the running mean is reported with the pairs of its batch."""
    reports: list[dict[str, Any]] = []
    trainer = Trainer(make_recipe(), prepared, tmp_path, CPU, lambda event: reports.append(logged(event)))
    trainer.run_folder.create()
    for step, loss in [*((step, 2.0) for step in range(1001, 1300)), (1300, 2.5), (1301, 6.0)]:
        trainer.watch.look(trainer.progress, step, [np.array([4, 7, 4])], loss)
    spikes = [entry for entry in reports if entry["kind"] == "spike"]
    assert [(entry["step"], entry["pairs"]) for entry in spikes] == [(1301, [5, 8])]
    trainer.stream.close()


@pytest.mark.parametrize("metric", ["bleu", "chrf2", "loss"])
def test_the_metric_decides_on_the_best(tmp_path: Path, prepared: Prepared, metric: str) -> None:
    """The best checkpoint has the highest validation score, or the lowest loss, of all."""
    reports: list[dict[str, Any]] = []
    recipe = make_recipe(training={"metric": metric, "updates": 12, "validate_every": 3})
    progress = Trainer(recipe, prepared, tmp_path, CPU, lambda event: reports.append(logged(event))).run()
    scores = {
        entry["step"]: (-entry["loss"] if metric == "loss" else entry[metric], -entry["loss"])
        for entry in reports
        if entry["kind"] == "validation"
    }
    assert scores[progress.best_step] == max(scores.values())
    assert not math.isinf(progress.best_score)


@pytest.mark.parametrize(
    ("last", "chosen"), [(41.0, "step-00000006"), (39.0, "step-00000003"), (40.0, "step-00000003")]
)
def test_search_decides_between_the_best_and_the_last(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch, last: float, chosen: str
) -> None:
    """The best by greedy translations may be so by luck; of equals it stays."""
    greedy, searched = iter([30.0, 20.0, 20.0]), iter([40.0, last])
    monkeypatch.setattr(
        Validator, "validate", lambda *_: Validation(loss=1, perplexity=1, accuracy=1, bleu=next(greedy), chrf2=None)
    )
    monkeypatch.setattr(Validator, "searched", lambda *_: next(searched))
    reports: list[dict[str, Any]] = []
    recipe = make_recipe(RNN, training={"updates": 6, "validate_every": 3})
    Trainer(recipe, prepared, tmp_path, CPU, lambda event: reports.append(logged(event))).run()
    assert (reports[-1]["kind"], reports[-1]["checkpoint"]) == ("choice", chosen)
    loaded = bundle.load_model(tmp_path)
    assert (loaded.path, loaded.card["checkpoint"]) == (tmp_path / "model", chosen)
    assert loaded.card["validation"]["bleu"] == (20.0 if last > 40 else 30.0)
    weights = store.read_weights(tmp_path / "checkpoints" / chosen)
    assert all(bool((part == weights[name]).all()) for name, part in store.read_weights(loaded.path).items())


@pytest.mark.parametrize("loss", [math.nan, math.inf])
@pytest.mark.parametrize("options", [{}, {"metric": "loss"}, {"average": 2}], ids=["bleu", "loss", "average"])
def test_a_validation_that_is_not_finite_is_never_the_best(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch, loss: float, options: dict[str, Any]
) -> None:
    """Neither before a finite one nor after it; and a model of such a loss is not written, which one line says."""
    losses: list[float] = []
    monkeypatch.setattr(
        Validator,
        "validate",
        lambda *_: Validation(loss=losses.pop(0), perplexity=1, accuracy=1, bleu=0.0, chrf2=None),
    )
    monkeypatch.setattr(Validator, "searched", lambda *_: 0.0)
    recipe = make_recipe(RNN, training={"updates": 3, "validate_every": 1, **options})
    losses += [loss, 2.0, loss, 2.0]  # the last one is of a mean of checkpoints
    progress = Trainer(recipe, prepared, tmp_path / "one", CPU).run()
    assert (progress.best_step, progress.best_loss) == (2, 2.0)
    assert bundle.load_model(tmp_path / "one").card["validation"]["loss"] == 2.0
    losses[:] = [loss] * 4
    with pytest.raises(
        NmtError, match=r"validation loss is not finite, so no model is written; .* training\.learning_rate"
    ):
        Trainer(recipe, prepared, tmp_path / "none", CPU).run()
    assert not (tmp_path / "none" / "model").exists()


def test_the_recipes_own_search_is_what_decides(tmp_path: Path, prepared: Prepared) -> None:
    """Its score is that of the model's translations of the validation sentences."""
    recipe = make_recipe(RNN, training={"updates": 3}, search={"beam": 3})
    trainer = Trainer(recipe, prepared, tmp_path, CPU)
    trainer.run()
    translator, validator = Translator(bundle.load_model(tmp_path)), trainer.validator
    assert translator.search.beam == 3
    assert validator.searched() == bleu(translator.translate(validator.source), validator.target)


@pytest.mark.parametrize("budget", [math.inf, math.nan, 0.0, -1.0])
def test_a_budget_is_a_time(budget: float) -> None:
    """Any other number is refused in one line."""
    with pytest.raises(ConfigError, match="budget must be a time above 0 seconds"):
        check_budget(make_recipe(), budget)


def test_a_huge_budget_plans_as_many_updates_as_a_checkpoint_holds() -> None:
    """However many would fit."""
    progress = Progress(step=25, updates=UNPLANNED, training_seconds=0.5)
    fit_budget(progress, 1e18)
    assert progress.step < progress.next_validation <= progress.updates < UNPLANNED
    assert Progress.restore(dataclasses.asdict(progress)) == progress
