"""Search that stays on its device finds what the plain loop finds, for any number of slots, without asking the device."""

from __future__ import annotations

import gc
import itertools
import weakref
from typing import Any

import pytest
import torch

from nmt.config.search import SearchConfig
from nmt.decoding.beam_search import Hypothesis, beam_search, configured_rules
from nmt.decoding.device.beams import Beams, Room
from nmt.decoding.device.search import DeviceSearch, cached_bytes
from nmt.decoding.device.steps import steps_for
from nmt.models import Model
from tiny import FAMILIES, VISUAL, make_batch, make_model

SETTINGS: dict[str, dict[str, Any]] = {
    "beam": {"beam": 4},
    "greedy": {"beam": 1},
    "count": {"beam": 3, "stopping": "count", "length_penalty": "gnmt", "alpha": 0.6},
    "short": {"beam": 4, "length_penalty": "none", "max_length_ratio": 0.5, "max_length_constant": 1},
    "long": {"beam": 2, "min_length": 5, "max_length_constant": 4},
}
LENGTHS = [9, 4, 7, 2, 1, 12, 5, 9, 3, 3, 8]
SEARCHED = [name for name in FAMILIES | VISUAL if name != "local-monotonic"]


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


def agree(one: list[Hypothesis], other: list[Hypothesis], tolerance: float = 1e-9) -> None:
    """The same hypotheses; of those with one score, which come first, or at all, is left open."""
    scores = [item.score for item in one]
    assert [item.score for item in other] == pytest.approx(scores, abs=tolerance)
    alone = [place for place, score in enumerate(scores) if sum(abs(score - near) <= tolerance for near in scores) == 1]
    for place in alone:
        assert other[place].tokens == one[place].tokens
        assert other[place].cut == one[place].cut
        assert other[place].log_probability == pytest.approx(one[place].log_probability, abs=20 * tolerance)


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


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", ["bottleneck", "additive", "convolution", "transformer"])
def test_it_agrees_in_single_precision(name: str, settings: str) -> None:
    """Scores and log-probabilities are those of the plain loop, and so are tokens where scores are not equal."""
    model, config = make_model(name).float(), SearchConfig(**SETTINGS[settings])
    found = searching(model, 3).search(sentences(), config, config.beam)
    for one, other in zip(plain(model, config, config.beam), found, strict=True):
        agree(one, other, 1e-4)


@pytest.mark.parametrize("memory", [60_000, 1_000])
def test_little_memory_makes_several_searches(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest sentences first, alone; the lines are the same, if need be one after the other."""
    monkeypatch.setattr("nmt.decoding.device.search.memory_there", lambda _: memory)
    model, config = make_model("additive"), SearchConfig(beam=3)
    steps = steps_for(model)
    assert steps is not None
    found = DeviceSearch(steps, torch.device("cpu")).search(sentences(), config, 2)
    for one, other in zip(plain(model, config, 2), found, strict=True):
        agree(one, other)


def test_a_search_that_is_not_needed_any_more_is_gone() -> None:
    """With all its memory, at once: nothing waits for Python to look for cycles."""
    search = searching(make_model("additive"), 4)
    gc.disable()
    try:
        search.search(sentences(), SearchConfig(beam=4), 1)
        kept = weakref.ref(search.running)
        search.search(sentences(), SearchConfig(beam=2), 1)
        assert kept() is None
        kept = weakref.ref(search.running)
        del search
        assert kept() is None
    finally:
        gc.enable()


def test_what_graphs_keep_for_themselves_is_not_free() -> None:
    """Of the cache of its own GPU only the pool that everybody shares counts."""
    sizes = {"total_size": 100, "allocated_size": 30}
    segments = [
        {"device": 0, "segment_pool_id": (0, 0), **sizes},
        {"device": 0, "segment_pool_id": (0, 1), **sizes},
        {"device": 1, "segment_pool_id": (0, 0), **sizes},
    ]
    assert cached_bytes(segments, 0) == 70


@pytest.mark.slow
@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize(("part", "settings"), [*((8, settings) for settings in SETTINGS), (8192, "beam")])
def test_kernels_do_to_beams_what_torch_does(part: int, settings: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step, by Triton's interpreter: all that a search keeps is the same, with slots that are filled anew.

    The vocabulary is one part for a program, or two.
    """
    monkeypatch.setattr("nmt.fast.triton.beams._PART", part)
    config, lengths = SearchConfig(**SETTINGS[settings]), torch.tensor([3, 2, 2, 1, 1])
    room = Room(2, config.beam, 7, 20, 4, 20)
    both = [Beams(room, torch.device("cpu"), config, best=min(2, config.beam)) for _ in range(2)]
    for beams in both:
        beams.begin(lengths)
    torch.manual_seed(5)
    for _ in range(14):
        logits = 3 * torch.randn(room.rows, 11)
        for beams, kernels in zip(both, (False, True), strict=True):
            monkeypatch.setattr("nmt.decoding.device.beams.usable", lambda _, kernels=kernels: kernels)
            beams.advance(logits)
        for name in ("owners", "positions", "tokens", "origins", "fed", "scores", "remaining"):
            torch.testing.assert_close(getattr(both[1], name), getattr(both[0], name), rtol=1e-5, atol=1e-5)
        past = torch.arange(room.target) <= both[0].positions.repeat_interleave(config.beam)[:, None]
        assert torch.equal(both[1].ancestry[past], both[0].ancestry[past])
    for one, other in zip(*(beams.queue.hypotheses(5, config.beam) for beams in both), strict=True):
        agree(one, other, 1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize(
    "name",
    [
        *("additive-lstm", "dot", "transformer", "transformer-rotary"),
        *(
            pytest.param(name, marks=pytest.mark.thorough)
            for name in ("additive", "bilinear", "transformer-alibi", "transformer-post")
        ),
    ],
)
def test_kernels_find_what_the_plain_loop_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In single precision, by Triton's interpreter, with all kernels of search."""
    for place in ("decoding.device.beams", "decoding.device.rnn", "decoding.device.attention", "fast.gpu.norm"):
        monkeypatch.setattr(f"nmt.{place}.usable", lambda _: True)
    model, config = make_model(name).float(), SearchConfig(beam=2, max_length_ratio=1, max_length_constant=0)
    source, lengths = make_batch([3, 2])
    ids = [row[: length - 1] for row, length in zip(source.tolist(), lengths.tolist(), strict=True)]
    found = searching(model, 2).search(ids, config, 2)
    for one, other in zip(beam_search(model, source, lengths, config, 2), found, strict=True):
        agree(one, other, 1e-4)
