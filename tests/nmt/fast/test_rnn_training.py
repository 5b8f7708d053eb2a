"""The attention RNN trained by one function over its positions is that of the paper, on every set of instructions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from nmt.config.model import RnnConfig
from nmt.config.recipe import TrainingConfig
from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.fast.cpu.rnn_training import scanned
from nmt.fast.kernels import Kernels
from nmt.models import RnnSeq2Seq, build_model
from nmt.runtime.cpu import has_fast_bf16
from nmt.training.arithmetic import Arithmetic
from nmt.training.batches import Batch
from nmt.training.updater import Updater
from tiny import make_batch

CPU = torch.device("cpu")


def _model(**settings: Any) -> RnnSeq2Seq:
    torch.manual_seed(5)
    usual: dict[str, Any] = {"embedding": 32, "hidden": 48, "dropout": 0.0}
    model = build_model(RnnConfig(**usual | settings), 50, 50).train()
    assert isinstance(model, RnnSeq2Seq)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model


def _batch() -> Batch:
    source, lengths = make_batch([5, 35, 1, 17], vocabulary=50)
    output, _ = make_batch([9, 1, 7, 12], seed=2, vocabulary=50)
    inputs = torch.cat([torch.full((4, 1), BOS), output[:, :-1]], 1)
    return Batch.of(source, lengths, inputs.masked_fill(inputs == EOS, 4), output)


def _gradients(model: RnnSeq2Seq, hidden: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(9)
    (hidden * torch.randn(hidden.shape).to(hidden)).sum().backward()
    found = {name: part.grad for name, part in model.named_parameters() if part.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize(
    "settings", [{"cell": "lstm"}, {"cell": "gru"}, {"cell": "lstm", "layers": 2, "values": "projected"}]
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_states_and_gradients_are_those_of_float64(kernels: Kernels, settings: dict[str, Any], precision: str) -> None:
    """To the rounding of the precision."""
    model, batch = _model(**settings), _batch()
    exact = copy.deepcopy(model).double()
    expected = exact(batch.source, batch.lengths, batch.target_input)
    fast = scanned(model)
    assert fast is not None
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        found = fast(batch.source, batch.lengths, batch.target_input)
    half = 0.03 if has_fast_bf16() else 0.06  # without oneDNN's bf16 torch rounds each gate of the second layer
    tolerance = 2e-5 if precision == "fp32" else half
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
    ours, theirs = _gradients(model, found), _gradients(exact, expected)
    assert ours.keys() == theirs.keys()
    largest = max(float(part.norm()) for part in theirs.values())
    for name, part in theirs.items():
        apart = float((ours[name].double() - part).norm())
        assert apart < tolerance * (3 * float(part.norm()) + 0.01 * largest), name


@pytest.mark.parametrize(
    "settings",
    [
        {"attention": "none"},
        {"attention": "dot", "bidirectional": False},
        {"coverage": True},
        {"weighting": "sparsemax"},
        {"query": "current"},
        {"hidden": 40},
    ],
)
def test_the_model_itself_is_trained_where_the_kernels_do_not_know_it(settings: dict[str, Any]) -> None:
    """The fast training function declines every RNN variant that the kernels do not implement."""
    assert scanned(_model(**settings)) is None


def test_the_model_itself_is_trained_in_double_precision() -> None:
    """The fast training function declines an RNN whose weights are float64."""
    model = _model()
    assert scanned(model.double()) is None  # type: ignore[arg-type]


def _losses(packed: bool, updates: int, **settings: Any) -> list[float]:
    """Per token, of updates on batches that repeat."""
    updater = Updater(_model(**settings), TrainingConfig(), CPU, Arithmetic("fp32", onednn=False, packed=packed))
    batch = _batch()
    parts = [batch, *batch.halves()]
    found = [updater.update(step, [parts[step % 3]], 2e-3) for step in range(updates)]
    return [float(outcome.figures[0]) / outcome.tokens for outcome in found]


def test_losses_go_the_same_way_with_and_without_kernels(kernels: Kernels) -> None:
    """To a thousandth; with dropout too, whose draws stay the same. Updates repeat to the bit."""
    settings = {"cell": "lstm", "dropout": 0.2}
    with_kernels = _losses(True, 12, **settings)
    assert with_kernels == pytest.approx(_losses(False, 12, **settings), rel=1e-3)
    assert with_kernels == _losses(True, 12, **settings)
    assert (_batch().target_output == PAD).any()
