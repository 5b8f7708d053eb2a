"""A captured update is the update: graphs against the same work without one, for every family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nmt.config.recipe import TrainingConfig
from nmt.corpus.encoded import EncodedCorpus, Ragged
from nmt.corpus.prepared import Prepared
from nmt.fast.gpu.layouts import StaticBatch, layout_for
from nmt.models import build_model
from nmt.runtime.device import Precision
from nmt.training.arithmetic import Arithmetic
from nmt.training.static_update import StaticUpdate
from nmt.training.trainer import Trainer
from nmt.training.updater import Updater
from tiny import FAMILIES, VOCABULARY, make_recipe

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")


def batches_for(name: str) -> list[StaticBatch]:
    """Batches of a small corpus, laid out for a model."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 9, size=(2, 60))
    sides = [Ragged.of([generator.integers(4, VOCABULARY, size=n).tolist() for n in side]) for side in lengths]
    corpus = EncodedCorpus(*sides)
    layout = layout_for(FAMILIES[name], corpus.source.lengths + 1, corpus.target.lengths + 1, 64)
    plan = layout.plan(corpus, np.arange(len(corpus)), 1, 0)
    return [batch for rows in plan for batch in layout.lay_out(corpus, [rows], CUDA)]


def updater_of(name: str, precision: Precision, graphs: bool, optimizer: str = "adam") -> Updater:
    """An updater of a tiny random model that makes static updates."""
    torch.manual_seed(7)
    settings = FAMILIES[name]
    if settings.kind == "rnn" and settings.layers > 1:  # cuDNN's dropout between layers has a generator of its own
        settings = settings.model_copy(update={"dropout": 0.0})
    model = build_model(settings, VOCABULARY, VOCABULARY).to(CUDA).train()
    config = TrainingConfig.model_validate({"optimizer": optimizer})
    updater = Updater(model, config, CUDA, Arithmetic(precision, onednn=False))
    updater.static = StaticUpdate(updater, 20, graphs, beside=graphs)
    return updater


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "hard"])
def test_a_replayed_update_is_the_update(name: str, precision: Precision) -> None:
    """The same losses and norms with the same dropout, over several updates."""
    batches = batches_for(name)
    captured, eager = (updater_of(name, precision, graphs) for graphs in (True, False))
    for number, batch in enumerate(batches[:6], 1):
        found, wanted = (item.update(number, [batch], 1e-3).figures for item in (captured, eager))
        torch.testing.assert_close(found, wanted, rtol=2e-2 if precision == "bf16" else 1e-3, atol=1e-2)


@pytest.mark.parametrize("name", ["transformer", "additive", "convolution"])
def test_the_host_waits_for_nothing(name: str) -> None:
    """Once the graphs are there, torch would raise an error where an update synchronises."""
    batches, updater = batches_for(name), updater_of(name, "bf16", True)
    for number, batch in enumerate(batches, 1):
        updater.update(number, [batch], 1e-3)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number, batch in enumerate(batches, 1):
            updater.update(number, [batch], 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_captured_update_learns(precision: Precision, optimizer: str) -> None:
    """The loss of the same random batches falls by a fifth."""
    batches = batches_for("transformer")[:4]
    updater = updater_of("transformer", precision, True, optimizer)
    losses: list[float] = []
    for number in range(1, 121):
        outcome = updater.update(number, [batches[number % 4]], 3e-3)
        losses.append(float(outcome.figures[0] / outcome.tokens))
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


@pytest.mark.parametrize("model", [None, {"kind": "rnn"}, {"kind": "rnn", "attention": "none"}])
def test_a_training_makes_static_updates_and_goes_on(
    tmp_path: Path, prepared: Prepared, model: dict[str, str] | None
) -> None:
    """Interrupted or not, the weights are nearly the same: on a GPU sums may be taken in another order."""
    weights: list[dict[str, torch.Tensor]] = []
    for folder, stops in (("whole", (12,)), ("parts", (6, 12))):
        trainer = None
        for updates in stops:
            recipe = make_recipe(model, training={"updates": updates, "schedule": "constant", "precision": "bf16"})
            trainer = Trainer(recipe, prepared, tmp_path / folder, CUDA)
            trainer.run()
            assert trainer.updater.static is not None
        assert trainer is not None
        weights.append({name: part.detach().cpu() for name, part in trainer.model.named_parameters()})
    for name, whole in weights[0].items():
        torch.testing.assert_close(whole, weights[1][name], rtol=0.1, atol=0.02)
