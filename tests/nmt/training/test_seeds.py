"""A seed is any integer."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from nmt.runtime.device import draws, seed_all, seed_update

SEEDS = st.integers(-(2**200), 2**200) | st.integers(-5, 5) | st.sampled_from([2**63, 2**64, -(2**63)])


@given(SEEDS, st.integers(0, 10**9))
def test_every_integer_seeds_every_generator(seed: int, number: int) -> None:
    """The same seed draws the same; a seed that numpy and torch take themselves draws what it always drew."""
    first, second = (draws(seed, number).random(3).tolist() for _ in range(2))
    assert first == second
    if 0 <= seed < 2**128:
        assert first == np.random.default_rng((seed, number)).random(3).tolist()
    seed_update(seed, number)
    seed_all(seed)
    drawn = torch.rand(3).tolist()
    if -(2**63) <= seed < 2**64:
        torch.manual_seed(seed)
        assert torch.rand(3).tolist() == drawn


@given(st.integers(1, 10**6))
def test_a_seed_below_zero_is_another_one(seed: int) -> None:
    """The generators of a seed and of its negative draw different numbers."""
    assert draws(-seed, 0).random() != draws(seed, 0).random()
