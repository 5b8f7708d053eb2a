"""Packed batches: fixed shapes, every sentence once, almost nothing empty, and the same tokens as in padded ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nmt.corpus.encoded import EncodedCorpus, Ragged
from nmt.corpus.plans import Plan
from nmt.corpus.tokenizer import PAD
from nmt.fast.gpu.packing import Capacity, Packing, Shelf, capacity_for, empty_share, plan_packed
from nmt.fast.gpu.rounding import Rounding, Shape
from nmt.training.batches import collate

CPU = torch.device("cpu")


def make_corpus(pairs: int, mean: float = 14.0, seed: int = 0) -> EncodedCorpus:
    """Random sentences whose lengths are spread as those of real ones, on both sides alike."""
    generator = np.random.default_rng(seed)
    target = np.maximum(1, generator.lognormal(np.log(mean), 0.45, pairs).astype(int))
    source = np.maximum(1, np.round(target * generator.normal(1.03, 0.15, pairs)).astype(int))
    sides = [Ragged.of([generator.integers(4, 90, size=n).tolist() for n in side]) for side in (source, target)]
    return EncodedCorpus(*sides)


def plan_of(corpus: EncodedCorpus, tokens: int, epoch: int = 0) -> tuple[Capacity, Plan]:
    """Capacity and batches of an epoch."""
    capacity = capacity_for(corpus.source.lengths + 1, corpus.target.lengths + 1, tokens)
    return capacity, plan_packed(corpus, np.arange(len(corpus)), capacity, 1, epoch)


def test_an_epoch_has_every_sentence_once_and_is_a_function_of_seed_and_epoch() -> None:
    """Each epoch contains all sentences exactly once, reproducibly, and the next has another order."""
    corpus = make_corpus(2_000)
    _, first = plan_of(corpus, 1024)
    _, again = plan_of(corpus, 1024)
    _, other = plan_of(corpus, 1024, epoch=1)
    assert sorted(np.concatenate(first).tolist()) == list(range(2_000))
    assert [part.tolist() for part in first] == [part.tolist() for part in again]
    assert np.concatenate(first).tolist() != np.concatenate(other).tolist()


def test_no_batch_has_more_rows_than_there_are_or_more_tokens_than_asked_for() -> None:
    """No packed batch exceeds its token budget in targets or its capacity in sources."""
    corpus = make_corpus(2_000)
    for tokens in (50, 300, 1024):
        capacity, plan = plan_of(corpus, tokens)
        for rows in plan:
            assert int((corpus.target.lengths[rows] + 1).sum()) <= max(tokens, int(corpus.target.lengths.max()) + 1)
            assert int((corpus.source.lengths[rows] + 1).sum()) <= capacity.source


@pytest.mark.parametrize(("tokens", "source", "target"), [(4096, 0.04, 0.008), (25_000, 0.035, 0.005)])
def test_hardly_a_row_is_empty(tokens: int, source: float, target: float) -> None:
    """In an epoch of the size of Multi30k, its last batch counted."""
    corpus = make_corpus(29_000)
    for epoch in range(3):
        capacity, plan = plan_of(corpus, tokens, epoch)
        shares = empty_share(corpus, plan, capacity)
        assert shares[0] <= source
        assert shares[1] <= target


def test_a_corpus_smaller_than_a_batch_makes_one_batch() -> None:
    """Few sentences are packed into a single batch whose capacity shrinks to the corpus."""
    corpus = make_corpus(20)
    capacity, plan = plan_of(corpus, 25_000)
    assert len(plan) == 1
    assert capacity.target < 25_000


def test_tokens_are_those_of_padded_batches() -> None:
    """Token for token, and each row knows its sentence on both sides."""
    corpus = make_corpus(300)
    capacity, plan = plan_of(corpus, 256)
    for rows, packed in zip(plan, Shelf(corpus, capacity, CPU).lay_out(plan), strict=True):
        padded = collate(corpus, rows)
        assert packed.tokens == padded.tokens == int(packed.count)
        real, source = padded.target_output.ne(PAD), padded.source.ne(PAD)
        assert packed.target[0, : packed.tokens].tolist() == padded.target_input[real].tolist()
        assert packed.target[1, : packed.tokens].tolist() == padded.target_output[real].tolist()
        assert packed.source[0, : int(source.sum())].tolist() == padded.source[source].tolist()
        assert not packed.target[:, packed.tokens :].any()
        assert not packed.source[:, int(source.sum()) :].any()
        assert packed.target[2, : packed.tokens].tolist() == [
            place for count in real.sum(1).tolist() for place in range(count)
        ]
        first, count, other_first, other_count = packed.target[3:].tolist()
        for row in range(packed.tokens):
            assert first[row] <= row < first[row] + count[row]
            assert packed.source[4, other_first[row]] == first[row]
            assert packed.source[5, other_first[row]] == count[row]
            assert packed.source[2, other_first[row]] == other_first[row]
            assert packed.source[3, other_first[row]] == other_count[row]


def test_batches_of_a_corpus_too_large_for_the_device_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host then sends the sentences of the batches, and their numbers come out alike."""
    corpus = make_corpus(300)
    capacity, plan = plan_of(corpus, 256)
    kept = Packing(capacity).lay_out(corpus, plan, CPU)
    monkeypatch.setattr("nmt.fast.gpu.packing._ON_DEVICE", 0)
    sent = Packing(capacity).lay_out(corpus, plan, CPU)
    assert [packed.tokens for packed in sent] == [packed.tokens for packed in kept]
    assert all(torch.equal(one.numbers, other.numbers) for one, other in zip(sent, kept, strict=True))


def test_batches_that_are_laid_out_together_do_not_touch() -> None:
    """Each is what it is alone."""
    corpus = make_corpus(200)
    capacity, plan = plan_of(corpus, 256)
    shelf = Shelf(corpus, capacity, CPU)
    for rows, packed in zip(plan, shelf.lay_out(plan), strict=True):
        assert torch.equal(shelf.lay_out([rows])[0].numbers, packed.numbers)


def test_recurrences_get_few_shapes() -> None:
    """At most eleven in three epochs, every sentence once in each, and not many more positions than tokens."""
    corpus = make_corpus(8_000)
    layout = Rounding.of(corpus.source.lengths + 1, corpus.target.lengths + 1, 4096)
    shapes: set[Shape] = set()
    for epoch in range(3):
        plan = layout.plan(corpus, np.arange(len(corpus)), 1, epoch)
        assert sorted(np.concatenate(plan).tolist()) == list(range(len(corpus)))
        shapes |= {layout.shape_of(corpus, rows) for rows in plan}
        assert layout.padding(corpus, plan) < 0.3
        assert all(int((corpus.target.lengths[rows] + 1).sum()) <= 4096 for rows in plan)
    assert len(shapes) <= 11


def test_rounded_batches_are_padded_batches_with_empty_rows() -> None:
    """Token for token."""
    corpus = make_corpus(300)
    layout = Rounding.of(corpus.source.lengths + 1, corpus.target.lengths + 1, 256)
    plan = layout.plan(corpus, np.arange(len(corpus)), 1, 0)
    for rows, batch in zip(plan, layout.lay_out(corpus, plan, CPU), strict=True):
        padded, shape = collate(corpus, rows), batch.capacity
        count, (source, target) = len(rows), (padded.source.shape[1], padded.target_input.shape[1])
        assert torch.equal(batch.source[:count, :source].long(), padded.source)
        assert torch.equal(batch.lengths[:count].long(), padded.lengths)
        assert torch.equal(batch.target_input[:count, :target].long(), padded.target_input)
        wanted = batch.wanted.view(-1, shape.target)
        assert torch.equal(wanted[:count, :target].long(), padded.target_output)
        assert not wanted[:, target:].any()
        assert not wanted[count:].any()
        assert batch.lengths[count:].eq(1).all()
        assert int(batch.count) == batch.tokens == padded.tokens
