"""Batches made in blocks of small integers are those of whole arrays, to the row, and take a few bytes a pair."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import plain_epochs as plain
from epochs import STEPS, work, write_random
from nmt.config.data import CorpusConfig, DataConfig
from nmt.corpus.encoded import EncodedCorpus, Ints, Ragged, read_corpus
from nmt.fast.gpu.packing import capacity_for, empty_share, plan_packed
from nmt.fast.gpu.rounding import Rounding
from nmt.training.batches import largest, padding_share, plan_epoch, select
from nmt.training.stream import mixed


def make_corpus(generator: np.random.Generator) -> EncodedCorpus:
    """Some hundred pairs with lengths of one of several kinds; empty and very long ones occur."""
    pairs = int(generator.integers(1, 700))
    kinds = (
        lambda: np.clip(generator.lognormal(2.6, 0.6, pairs), 0, 90),
        lambda: generator.integers(0, 4, pairs),
        lambda: np.full(pairs, 7),
        lambda: np.where(generator.random(pairs) < 0.01, 70_000, generator.integers(1, 60, pairs)),
        lambda: np.where(generator.random(pairs) < 0.5, 254, 255),
    )
    target = kinds[generator.integers(len(kinds))]()
    source = target if generator.random() < 0.2 else np.maximum(0, target * generator.normal(1.1, 0.2, pairs))
    offsets = [np.append(0, np.cumsum(side.astype(np.int64))) for side in (source, target)]
    return EncodedCorpus(*(Ragged(np.zeros(side[-1], np.uint32), side) for side in offsets))


def same(found: Sequence[Ints], expected: Sequence[Ints]) -> bool:
    """Whether two plans have the same rows in the same batches, in 8 bytes each."""
    return len(found) == len(expected) and all(
        one.dtype == other.dtype and np.array_equal(one, other) for one, other in zip(found, expected, strict=True)
    )


@pytest.fixture(params=[None, 50])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Corpora of one block, and of many."""
    if request.param:
        monkeypatch.setattr("nmt.corpus.encoded.BLOCK", request.param)
        monkeypatch.setattr("nmt.corpus.plans.BLOCK", request.param)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A million short pairs, and a small corpus beside them."""
    folder = tmp_path_factory.mktemp("large")
    write_random(folder / "small.arrow", 1000, 4)
    write_random(folder / "x.arrow", 1_000_000, 2)
    return folder / "x.arrow"


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("seed", range(60))
def test_batches_are_those_of_whole_arrays(seed: int) -> None:
    """Selected rows, batches of all layouts, their shapes, padding and the largest of them agree on random corpora."""
    generator = np.random.default_rng(seed)
    corpus = make_corpus(generator)
    limit, tokens = int(generator.choice([20, 100, 100_000])), int(generator.choice([1, 60, 900, 20_000]))
    first = int(generator.integers(0, 1 + len(corpus) // 2)) if generator.random() < 0.3 else 0
    expected, too_long = plain.select(corpus, limit, first)
    selection = select(corpus, limit, first)
    assert np.array_equal(selection.rows, expected)
    assert (selection.rows.dtype, selection.too_long) == (np.int32, too_long)
    if not len(expected):
        return
    rows, numbers = selection.rows, (int(generator.integers(100)), int(generator.integers(5)))
    plan, known = plan_epoch(corpus, rows, tokens, *numbers), plain.plan_epoch(corpus, expected, tokens, *numbers)
    assert same(plan, known)
    assert np.array_equal(largest(corpus, plan), plain.largest(corpus, known))
    assert padding_share(corpus, plan) == plain.padding_share(corpus, known)

    sides = [side.small_lengths()[rows] + 1 for side in (corpus.source, corpus.target)]
    plainly = [side.lengths[expected] + 1 for side in (corpus.source, corpus.target)]
    capacity = capacity_for(sides[0], sides[1], tokens)
    assert capacity == plain.capacity_for(plainly[0], plainly[1], tokens)
    packed = plan_packed(corpus, rows, capacity, *numbers)
    known = plain.plan_packed(corpus, expected, capacity, *numbers)
    assert same(packed, known)
    empty = [
        1 - sum(int(side[own].sum()) for own in known) / (room * len(known))
        for side, room in ((corpus.source.lengths + 1, capacity.source), (corpus.target.lengths + 1, capacity.target))
    ]
    assert empty_share(corpus, packed, capacity) == tuple(empty)

    layout = Rounding.of(sides[0], sides[1], tokens)
    assert layout.shapes == plain.shapes_for(plainly[0], plainly[1], tokens)
    rounded, known = layout.plan(corpus, rows, *numbers), plain.plan_rounded(layout, corpus, expected, *numbers)
    assert same(rounded, known)
    assert layout.padding(corpus, rounded) == plain.padding_of(layout, corpus, known)


@pytest.mark.parametrize("seed", range(20))
def test_a_mixture_is_that_of_whole_arrays(seed: int) -> None:
    """Corpora by weight and temperature give the same rows, whatever the size of an integer; one may be empty."""
    generator = np.random.default_rng(seed)
    parts = generator.integers(0, 400, 3).tolist()
    rows = np.flatnonzero(generator.random(sum(parts)) < 0.9)
    weights = generator.choice([0.5, 1, 3], 3)
    more = tuple(CorpusConfig(corpus="x", source="a", target="b", weight=weight) for weight in weights[1:])
    data = DataConfig(corpus="x", source="a", target="b", weight=weights[0], more=more, temperature=2)
    found = mixed(rows.astype(np.int32), parts, data, seed, 1)
    assert found.dtype == np.int32
    assert np.array_equal(found, plain.mixed(rows, parts, data, seed, 1))


def test_a_plan_is_a_sequence(tmp_path: Path) -> None:
    """Batches by number from either end, by slices and in turn are the same, and their sizes are known."""
    write_random(tmp_path / "x.arrow", 500, 8)
    corpus = read_corpus(tmp_path / "x.arrow")
    plan = plan_epoch(corpus, np.arange(500), 100, 1, 0)
    assert same([*plan], plan[:])
    assert same(plan[-3::2], [plan[len(plan) - 3], plan[-1]])
    assert plan.sizes.tolist() == [len(rows) for rows in plan]
    with pytest.raises(IndexError):
        plan[len(plan)]


@pytest.mark.parametrize("step", STEPS)
def test_a_million_pairs_take_a_few_bytes_each(step: str, large: Path) -> None:
    """All that is allocated at a time, blocks included, is under 24 bytes a pair; an object of Python a pair would be more."""
    work(step, large.with_name("small.arrow"))  # what is made once is there
    tracemalloc.start()
    try:
        work(step, large)
        assert tracemalloc.get_traced_memory()[1] < 24e6
    finally:
        tracemalloc.stop()
