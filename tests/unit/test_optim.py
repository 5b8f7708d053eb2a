"""The learning rate is a function of the update: it warms up, and does what its schedule says."""

from __future__ import annotations

import pytest
import torch

from nmt.config import TrainingConfig
from nmt.optim import learning_rate, make_optimizer


def _config(**values: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"learning_rate": 0.1, "warmup": 10, **values})


def test_cosine_warms_up_peaks_and_ends_at_zero() -> None:
    rates = [learning_rate(update, 100, _config()) for update in range(1, 101)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[9] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.0)
    assert rates[9:] == sorted(rates[9:], reverse=True)


def test_inverse_square_root_halves_at_four_times_the_warmup() -> None:
    config = _config(schedule="inverse_square_root")
    assert learning_rate(40, 1000, config) == pytest.approx(0.05)


def test_plateau_scales_the_peak_and_constant_keeps_it() -> None:
    assert learning_rate(500, 1000, _config(schedule="plateau"), plateau_factor=0.25) == pytest.approx(0.025)
    assert learning_rate(500, 1000, _config(schedule="constant")) == pytest.approx(0.1)


def test_warmup_is_at_most_a_tenth_of_a_schedule_that_ends() -> None:
    assert learning_rate(5, 50, _config(warmup=1000)) == pytest.approx(0.1)
    assert learning_rate(5, 50, _config(warmup=1000, schedule="inverse_square_root")) == pytest.approx(0.1 * 5 / 1000)


def test_without_weight_decay_it_is_adam_and_vectors_never_decay() -> None:
    layer = torch.nn.Linear(3, 2)
    groups = make_optimizer(layer, _config(weight_decay=0.5)).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.5), (1, 0.0)]
