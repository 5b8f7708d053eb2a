"""Search that stays on its device finds what the plain loop finds, for any number of slots, without asking the device."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from nmt.config import SearchConfig
from nmt.fast.search.device import DeviceSearch
from nmt.fast.search.steps import steps_for
from nmt.models import Model
from nmt.search import Hypothesis, beam_search, configured_rules
from tiny import FAMILIES, make_batch, make_model

SETTINGS: dict[str, dict[str, Any]] = {
    "beam": {"beam": 4},
    "greedy": {"beam": 1},
    "count": {"beam": 3, "stopping": "count", "length_penalty": "gnmt", "alpha": 0.6},
    "short": {"beam": 4, "length_penalty": "none", "max_length_ratio": 0.5, "max_length_constant": 1},
    "long": {"beam": 2, "min_length": 5, "max_length_constant": 4},
}
LENGTHS = [9, 4, 7, 2, 1, 12, 5, 9, 3, 3, 8]
SEARCHED = [name for name in FAMILIES if name != "local-monotonic"]


def searching(model: Model, slots: int) -> DeviceSearch:
    """Of a model that has such a search."""
    steps = steps_for(model)
    assert steps is not None
    return DeviceSearch(steps, torch.device("cpu"), slots)


def plain(model: Model, config: SearchConfig, best: int) -> list[list[Hypothesis]]:
    """What the loop of reference finds."""
    source, lengths = make_batch(LENGTHS)
    return beam_search(model, source, lengths, config, best, configured_rules(config))


def sentences() -> list[list[int]]:
    """The same sources, as lists without their end."""
    source, lengths = make_batch(LENGTHS)
    return [row[: length - 1] for row, length in zip(source.tolist(), lengths.tolist(), strict=True)]


CASES = [(name, "beam") for name in SEARCHED] + list(
    itertools.product(("bottleneck", "additive", "convolution", "transformer"), [*SETTINGS][1:])
)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_it_finds_what_the_plain_loop_finds(name: str, settings: str) -> None:
    """In float64: the same tokens, scores and log-probabilities of all that is kept, with slots that are filled anew."""
    model, config = make_model(name), SearchConfig(**SETTINGS[settings])
    best = config.beam
    expected = plain(model, config, best)
    for slots in (3, 16):
        for one, other in zip(expected, searching(model, slots).search(sentences(), config, best), strict=True):
            agree(one, other)


def agree(one: list[Hypothesis], other: list[Hypothesis]) -> None:
    """The same hypotheses; of those with one score, which come first, or at all, is left open."""
    scores = [item.score for item in one]
    assert [item.score for item in other] == pytest.approx(scores)
    alone = [place for place, score in enumerate(scores) if sum(abs(score - other) < 1e-9 for other in scores) == 1]
    for place in alone:
        assert other[place].tokens == one[place].tokens
        assert other[place].cut == one[place].cut
        assert other[place].log_probability == pytest.approx(one[place].log_probability)


@pytest.mark.parametrize("name", ["bottleneck", "additive-lstm", "convolution", "transformer"])
def test_neither_order_nor_slots_change_a_line(name: str) -> None:
    """In single precision: the same sentences forwards and backwards, alone and beside others."""
    search = searching(make_model(name).float(), 4)
    config = SearchConfig(beam=3)
    found = search.search(sentences(), config, 2)
    backwards = search.search(sentences()[::-1], config, 2)
    alone = [search.search([sentence], config, 2)[0] for sentence in sentences()]
    for other in (backwards[::-1], alone):
        for one, two in zip(found, other, strict=True):
            assert [item.tokens for item in two] == [item.tokens for item in one]
            assert [item.score for item in two] == pytest.approx([item.score for item in one], abs=1e-5)


@pytest.mark.parametrize("name", ["bottleneck", "additive", "convolution", "transformer"])
def test_it_agrees_in_single_precision(name: str) -> None:
    """The best hypothesis of each sentence is that of the plain loop, and so is its score."""
    model, config = make_model(name).float(), SearchConfig(beam=4)
    for expected, found in zip(
        plain(model, config, 1), searching(model, 3).search(sentences(), config, 1), strict=True
    ):
        assert found[0].tokens == expected[0].tokens
        assert found[0].score == pytest.approx(expected[0].score, abs=1e-4)
