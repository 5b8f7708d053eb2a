"""The learning rate is a function of the update; Muon makes directions alike, is torch's, and leaves the rest to Adam."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nmt.config.recipe import TrainingConfig
from nmt.errors import ConfigError
from nmt.training.adam import AdamW
from nmt.training.optim import Muon, learning_rate, make_optimizer
from nmt.training.orthogonal import orthogonal
from tiny import FAMILIES, make_model, make_recipe


def _config(**values: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"learning_rate": 0.1, "warmup": 10, **values})


def test_cosine_warms_up_peaks_and_ends_at_zero() -> None:
    """The cosine schedule rises linearly to its peak and then decays to zero."""
    rates = [learning_rate(update, 100, _config()) for update in range(1, 101)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[9] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.0)
    assert rates[9:] == sorted(rates[9:], reverse=True)


def test_inverse_square_root_halves_at_four_times_the_warmup() -> None:
    """The inverse square root schedule reaches half its peak after four warmups."""
    config = _config(schedule="inverse_square_root")
    assert learning_rate(40, 1000, config) == pytest.approx(0.05)


def test_plateau_scales_the_peak_and_constant_keeps_it() -> None:
    """A plateau factor multiplies the learning rate; the constant schedule stays at its peak."""
    assert learning_rate(500, 1000, _config(schedule="plateau"), plateau_factor=0.25) == pytest.approx(0.025)
    assert learning_rate(500, 1000, _config(schedule="constant")) == pytest.approx(0.1)


def test_warmup_is_at_most_a_tenth_of_a_schedule_that_ends() -> None:
    """The cosine schedule shortens a warmup that is too long, the endless schedule does not."""
    assert learning_rate(5, 50, _config(warmup=1000)) == pytest.approx(0.1)
    assert learning_rate(5, 50, _config(warmup=1000, schedule="inverse_square_root")) == pytest.approx(0.1 * 5 / 1000)


def test_without_weight_decay_it_is_adam_and_vectors_never_decay() -> None:
    """Weight decay applies to the matrix of a layer and not to its bias."""
    layer = torch.nn.Linear(3, 2)
    groups = make_optimizer(layer, _config(weight_decay=0.5)).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.5), (1, 0.0)]


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 24, 8), (2, 8, 32)])
def test_orthogonal_keeps_the_directions_and_evens_out_their_sizes(shape: tuple[int, int, int]) -> None:
    """Of U S V^T, U and V stay and S goes to about one; each matrix by itself, and as well in bf16."""
    torch.manual_seed(1)
    matrices = torch.randn(shape, dtype=torch.float64)
    left, sizes, right = torch.linalg.svd(matrices, full_matrices=False)
    inner = left.mT @ orthogonal(matrices) @ right.mT
    values = inner.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(inner, torch.diag_embed(values), rtol=0, atol=1e-9)
    assert values[sizes > 0.1 * sizes.amax()].min() > 0.6
    assert values.max() < 1.25
    torch.testing.assert_close(orthogonal(matrices[1:]), orthogonal(matrices)[1:])
    torch.testing.assert_close(orthogonal(matrices.float()).double(), orthogonal(matrices), rtol=0, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adamw_is_that_of_torch(dtype: torch.dtype) -> None:
    """To the bit, over updates of which one is skipped, and with a parameter that has no gradient."""
    torch.manual_seed(1)
    starts = [torch.randn(shape, dtype=dtype) for shape in ((5, 7), (3,), (2, 2))]
    ours, theirs = ([nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    groups = [
        [{"params": found[:1], "weight_decay": 0.1}, {"params": found[1:], "weight_decay": 0.0}]
        for found in (ours, theirs)
    ]
    mine = AdamW(groups[0], (0.9, 0.98), 1e-9)
    reference = torch.optim.AdamW(groups[1], lr=0.0, betas=(0.9, 0.98), eps=1e-9, fused=True)
    for number in range(5):
        gradients = [torch.randn_like(start) for start in starts[:2]]
        for parameters, optimizer in ((ours, mine), (theirs, reference)):
            for parameter, gradient in zip(parameters, gradients, strict=False):
                parameter.grad = gradient.clone()
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * (number + 1)
            optimizer.found_inf = torch.tensor(float(number == 2))  # type: ignore[union-attr]
            optimizer.step()
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)
        assert mine.state[one].keys() == reference.state[other].keys()
        assert all(torch.equal(value, reference.state[other][name]) for name, value in mine.state[one].items())


def test_muon_is_that_of_torch() -> None:
    """At the scale of Adam, with weight decay, over some updates; torch's works in bf16."""
    torch.manual_seed(1)
    ours, theirs = torch.nn.Linear(16, 48, bias=False), torch.nn.Linear(16, 48, bias=False)
    theirs.load_state_dict(ours.state_dict())
    mine = make_optimizer(ours, _config(optimizer="muon", weight_decay=0.1))
    reference = torch.optim.Muon(theirs.parameters(), weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        gradient = torch.randn(48, 16)
        for layer, optimizer in ((ours, mine), (theirs, reference)):
            layer.weight.grad = gradient.clone()
            for group in optimizer.param_groups:
                group["lr"] = 0.01
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_muon_moves_the_inner_matrices_and_adam_the_rest(name: str) -> None:
    """Embeddings, the output projection, which may be one of them, and vectors are Adam's; what is trained is moved once."""
    model = make_model(name)
    optimizer = make_optimizer(model, _config(optimizer="muon"))
    assert isinstance(optimizer, Muon)
    inner, *others = [group["params"] for group in optimizer.param_groups]
    tables = [module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    outer = {id(parameter) for parameter in [*tables, model.output.weight]}
    assert inner
    assert all(parameter.dim() == 2 and id(parameter) not in outer for parameter in inner)
    moved = [id(parameter) for group in (inner, *others) for parameter in group]
    assert sorted(moved) == sorted(id(parameter) for parameter in model.parameters() if parameter.requires_grad)


def test_an_update_that_is_not_finite_is_none_with_muon_too() -> None:
    """Weights and moments stay, to the bit."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 4))
    optimizer = make_optimizer(model, _config(optimizer="muon", weight_decay=0.1))
    assert isinstance(optimizer, Muon)
    for group in optimizer.param_groups:
        group["lr"] = 0.1

    def update(value: float) -> None:
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, value)
        optimizer.found_inf = torch.tensor(float(math.isnan(value)))
        optimizer.step()

    def state() -> list[torch.Tensor]:
        kept = [value for part in optimizer.state.values() for value in part.values()]
        return [tensor.clone() for tensor in [*model.parameters(), *kept]]

    update(1.0)
    before = state()
    update(float("nan"))
    assert all(torch.equal(one, two) for one, two in zip(state(), before, strict=True))


def test_muon_needs_whole_matrices() -> None:
    """Muon together with sharded training is refused by the recipe."""
    with pytest.raises(ConfigError, match=r"training\.shard divides"):
        make_recipe(training={"optimizer": "muon", "shard": True})


@pytest.mark.parametrize("finite", [True, False])
def test_matrices_are_moved_together_as_one_by_one(finite: bool) -> None:
    """In float64: tall, wide and square matrices of one shorter side; weight decay, momentum, what is left out, no gradient."""
    torch.manual_seed(3)
    shapes = [(6, 6), (18, 6), (6, 24), (6, 6), (24, 6), (5, 9)]
    starts = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    found: list[list[torch.Tensor]] = []
    for stacked in (False, True):
        parameters = [nn.Parameter(start.clone()) for start in starts]
        adam = AdamW([], (0.9, 0.98), 1e-9)
        muon = Muon(parameters, adam, weight_decay=0.1)
        if stacked:
            muon.stack()
        for number in range(3):
            generator = torch.Generator().manual_seed(number)
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if number == 2:
                parameters[3].grad = None
            muon.param_groups[0]["lr"] = 0.01
            muon.found_inf = torch.tensor(0.0 if finite or number != 1 else 1.0)
            muon.step()
        found.append([*parameters, *(muon.state[parameter]["momentum"] for parameter in parameters)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_a_trapezoid_falls_over_its_last_fifth() -> None:
    """The trapezoid schedule warms up, stays level, and declines linearly in its final fifth."""
    config = TrainingConfig(schedule="trapezoid", learning_rate=1.0, warmup=10)
    rates = [learning_rate(update, 100, config) for update in (5, 10, 50, 80, 90, 100)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 1.0, 0.5, 0.0])
