"""A Transformer trained without padding by the kernels is the Transformer of the paper, on every set of instructions."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nmt.config.model import TransformerConfig
from nmt.config.recipe import TrainingConfig
from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.fast.cpu.packed_layers import Stream, Update, activated, added, attended, embedded
from nmt.fast.cpu.transformer_training import packed_transformer
from nmt.fast.kernels import Kernels, kernels
from nmt.fast.kernels.training import Chance, Norm, Spread
from nmt.models import Transformer, build_model
from nmt.training.arithmetic import Arithmetic
from nmt.training.batches import Batch
from nmt.training.events import Event, Updated
from nmt.training.trainer import Trainer
from nmt.training.updater import Updater
from nmt_data.prepare import prepare
from tiny import make_batch, make_recipe

CPU = torch.device("cpu")
USUAL: dict[str, Any] = {
    "width": 64,
    "heads": 2,
    "feed_forward": 96,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "dropout": 0.0,
}


def _model(**settings: Any) -> Transformer:
    torch.manual_seed(5)
    model = build_model(TransformerConfig(**USUAL | settings), 50, 50).train()
    for parameter in model.parameters():
        if parameter.dim() < 2:
            torch.nn.init.normal_(parameter)
    assert isinstance(model, Transformer)
    return model


def _batch() -> Batch:
    """Sentences of unlike length, one of a single word and one longer than a vector."""
    source, lengths = make_batch([5, 35, 1, 17], vocabulary=50)
    output, _ = make_batch([18, 1, 7, 33], seed=2, vocabulary=50)
    inputs = torch.cat([torch.full((4, 1), BOS), output[:, :-1]], 1).masked_fill(output == PAD, PAD)
    return Batch.of(source, lengths, inputs.masked_fill(inputs == EOS, 4), output)


def _gradients(model: Transformer, hidden: Tensor, batch: Batch) -> dict[str, Tensor]:
    """By all parameters, of a weighted sum of the hidden states at words."""
    torch.manual_seed(9)
    weights = torch.randn(hidden.shape) * (batch.target_output != PAD)[:, :, None]
    (hidden * weights.to(hidden)).sum().backward()
    found = {name: part.grad for name, part in model.named_parameters() if part.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize(
    "settings", [{}, {"normalization": "rms", "scaled": False, "positions": "none", "tie": "none"}]
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_states_and_gradients_are_those_of_float64(
    kernels: Kernels, norm: str, settings: dict[str, Any], precision: str
) -> None:
    """At all words, to the rounding of the precision; the plain model is no closer."""
    model, batch = _model(norm=norm, **settings), _batch()
    exact, real = copy.deepcopy(model).double(), (batch.target_output != PAD)[:, :, None]
    expected = exact(batch.source, batch.lengths, batch.target_input)
    fast = packed_transformer(model)
    assert fast is not None
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        found = fast(batch.source, batch.lengths, batch.target_input)
    tolerance = 3e-5 if precision == "fp32" else 0.08
    torch.testing.assert_close((found * real).double(), expected * real, rtol=tolerance, atol=tolerance)
    ours, theirs = _gradients(model, found, batch), _gradients(exact, expected, batch)
    assert ours.keys() == theirs.keys()
    largest = max(float(part.norm()) for part in theirs.values())
    for name, part in theirs.items():
        apart = float((ours[name].double() - part).norm())
        assert apart < tolerance * (3 * float(part.norm()) + 0.01 * largest), name


def _slope(function: Any, inputs: list[Tensor]) -> tuple[float, float]:
    """Along a random direction: by the gradients, and by the function itself on both sides."""
    torch.manual_seed(3)
    directions = [torch.randn_like(part) for part in inputs]
    weights = torch.randn_like(function(*inputs))
    leaves = [part.clone().requires_grad_() for part in inputs]
    gradients = torch.autograd.grad((function(*leaves) * weights).sum(), leaves)
    by_gradient = sum(float((one * two).sum()) for one, two in zip(gradients, directions, strict=True))
    step = 1e-2
    sides = [
        float(
            (
                function(*(part + sign * step * way for part, way in zip(inputs, directions, strict=True))) * weights
            ).sum()
        )
        for sign in (1, -1)
    ]
    return by_gradient, (sides[0] - sides[1]) / (2 * step)


def test_gradients_know_what_dropped_out(kernels: Kernels) -> None:
    """Each function is differentiated with the draws of its forward pass."""
    torch.manual_seed(1)
    training, firsts = kernels.training, torch.tensor([0, 5, 6, 40])
    chance, norm = Chance(0.4, 2**61 + 77), Norm(torch.rand(64) + 0.5, torch.randn(64), 1e-5)
    spread = Spread(firsts, firsts, causal=True, heads=2, scale=0.2)

    def sums(stream: Tensor, update: Tensor, bias: Tensor) -> Tensor:
        onward = added(training, Stream(stream, stream), Update(update, bias), norm, chance, post=False)
        return onward.states + onward.read

    def attention(projected: Tensor, bias: Tensor) -> Tensor:
        return attended(training, [(projected, bias)], spread, chance)

    def embedding(table: Tensor) -> Tensor:
        tokens = torch.arange(40) % 7
        return embedded(training, table, tokens, None, tokens, chance)

    def activation(states: Tensor, bias: Tensor) -> Tensor:
        return activated(training, states.clone(), bias, chance)

    width = torch.randn(64)
    cases: list[tuple[Any, list[Tensor]]] = [
        (sums, [torch.randn(40, 64), torch.randn(40, 64), width]),
        (embedding, [torch.randn(9, 64)]),
    ]
    cases.append((attention, [torch.randn(40, 192) / 2, torch.randn(192) / 2]))
    cases.append((activation, [torch.randn(40, 64).sign() * 2, width.sign() / 2]))
    for function, inputs in cases:
        found, expected = _slope(function, inputs)
        assert found == pytest.approx(expected, rel=2e-2, abs=2e-2), function.__name__


def test_dropout_is_a_share_of_its_own_for_each_key(kernels: Kernels) -> None:
    """Of a million numbers; what stays is scaled up; keys do not repeat each other's draws; rows do not matter."""
    ones, nothing = torch.ones(4096, 256), torch.zeros(256)

    def kept(key: int, rows: int = 4096) -> Tensor:
        return activated(kernels.training, ones[:rows].clone(), nothing, Chance(0.3, key))

    first, second = kept(1), kept(2**40)
    assert first.unique().tolist() == pytest.approx([0, 1 / 0.7])
    for draws in (first, second):
        assert (draws > 0).float().mean().item() == pytest.approx(0.7, abs=2e-3)
        assert (draws > 0).float().mean(0).std().item() == pytest.approx((0.21 / 4096) ** 0.5, rel=0.2)
        assert (draws > 0).float().mean(1).std().item() == pytest.approx((0.21 / 256) ** 0.5, rel=0.2)
    assert ((first > 0) == (second > 0)).float().mean().item() == pytest.approx(0.58, abs=2e-3)
    assert torch.equal(kept(1, rows=99), first[:99])


@pytest.mark.parametrize(
    "settings",
    [
        {"positions": "rotary"},
        {"positions": "alibi"},
        {"positions": "learned"},
        {"activation": "gelu"},
        {"residual": False},
        {"word_dropout": 0.1},
        {"heads": 8},
        {"feed_forward": 100},
    ],
)
def test_the_model_itself_is_trained_where_the_kernels_do_not_know_it(settings: dict[str, Any]) -> None:
    """The fast training function declines every Transformer variant that the kernels do not implement."""
    assert packed_transformer(_model(**settings)) is None


def test_the_model_itself_is_trained_in_double_precision_and_where_layers_are_recomputed() -> None:
    """The fast training function declines recomputed layers, float64 weights and foreign modules."""
    again = _model()
    again.recompute = True
    assert packed_transformer(again) is None
    assert packed_transformer(_model().double()) is None
    assert packed_transformer(torch.nn.Linear(2, 2)) is None


def _losses(packed: bool, updates: int, **settings: Any) -> list[float]:
    """Per token, of updates on batches that repeat."""
    updater = Updater(_model(**settings), TrainingConfig(), CPU, Arithmetic("fp32", onednn=False, packed=packed))
    batch = _batch()
    parts = [batch, *batch.halves()]
    found = [updater.update(step, [parts[step % 3]], 2e-3) for step in range(updates)]
    return [float(outcome.figures[0]) / outcome.tokens for outcome in found]


def test_losses_go_the_same_way_with_and_without_kernels(kernels: Kernels) -> None:
    """To a thousandth, without dropout."""
    assert _losses(True, 20) == pytest.approx(_losses(False, 20), rel=1e-3)


def test_updates_with_dropout_repeat_to_the_bit(kernels: Kernels) -> None:
    """From the seed and the number of the update, whatever the number of threads that share the rows."""
    settings = {"dropout": 0.2, "attention_dropout": 0.1, "activation_dropout": 0.1}
    once, again = _losses(True, 6, **settings), _losses(True, 6, **settings)
    assert once == again
    assert once != _losses(True, 6, **settings | {"dropout": 0.1})


@pytest.mark.thorough
def test_five_hundred_updates_lose_as_much_with_and_without_kernels(tmp_path: Path) -> None:
    """The mean of the last hundred losses agrees to a thousandth, of a training without dropout."""
    model = {"kind": "transformer"} | USUAL | {"feed_forward": 128}
    recipe = make_recipe(
        model,
        data={"corpus": "phrasebook", "source": "de", "target": "en", "limit": 4000},
        tokenizer={"kind": "bpe", "vocabulary": 500},
        training={"updates": 500, "validate_every": 500, "batch_tokens": 400, "log_every": 100, "warmup": 50},
    )
    losses: list[float] = []
    for name, found in (("with", kernels()), ("without", None)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("nmt.training.arithmetic.kernels", lambda found=found: found)
            (tmp_path / name).mkdir()
            events: list[Event] = []
            Trainer(recipe, prepare(recipe), tmp_path / name, CPU, events.append).run()
        losses.append([event.loss for event in events if isinstance(event, Updated)][-1])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0] != losses[1]
