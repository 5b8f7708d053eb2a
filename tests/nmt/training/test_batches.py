"""Encoded corpora and batches: every pair once an epoch, the same order for the same seed, little padding."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from nmt.corpus.encoded import EncodedCorpus, Ragged, read_corpus
from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.corpus.writing import CorpusWriter
from nmt.decoding.batches import search_batches
from nmt.errors import DataError
from nmt.training.batches import collate, padding_share, plan_epoch, select


@pytest.fixture
def corpus(tmp_path: Path) -> EncodedCorpus:
    """Four thousand pairs of lengths as they occur, written and read back."""
    generator = np.random.default_rng(1)
    lengths = np.clip(generator.lognormal(2.6, 0.5, 4000).astype(int), 0, 90)
    source = [generator.integers(4, 99, length).tolist() for length in lengths]
    target = [generator.integers(4, 99, max(1, length + generator.integers(-2, 3))).tolist() for length in lengths]
    with ExitStack() as stack:
        writer = CorpusWriter(tmp_path / "x.arrow", stack)
        for part in (slice(1500), slice(1500, None)):
            writer.append(Ragged.of(source[part]), Ragged.of(target[part]))
        writer.finish()
    read = read_corpus(tmp_path / "x.arrow")
    assert [row.tolist() for row in np.split(read.source.values, read.source.offsets[1:-1])] == source
    return read


def test_an_epoch_holds_every_pair_once(corpus: EncodedCorpus) -> None:
    """The batches of an epoch partition the selected pairs and respect the token budget."""
    rows = select(corpus, 200).rows
    plan = plan_epoch(corpus, rows, 1000, seed=3, epoch=0)
    assert sorted(np.concatenate(plan).tolist()) == rows.tolist()
    target = corpus.target.lengths + 1
    assert max(int(target[batch].sum()) for batch in plan) <= 1000


def test_the_order_is_a_function_of_seed_and_epoch(corpus: EncodedCorpus) -> None:
    """The same seed and epoch give the same batches, and another of either gives others."""
    rows = select(corpus, 200).rows
    plans = [
        [batch.tolist() for batch in plan_epoch(corpus, rows, 1000, *key)] for key in [(1, 0), (1, 0), (1, 1), (2, 0)]
    ]
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]
    assert plans[0] != plans[3]


def test_padding_is_under_a_tenth(corpus: EncodedCorpus) -> None:
    """On this corpus fewer than ten percent of the positions in batches are padding."""
    assert padding_share(corpus, plan_epoch(corpus, select(corpus, 200).rows, 1500, 1, 0)) < 0.1


def test_long_and_empty_pairs_are_left_out_and_counted(corpus: EncodedCorpus) -> None:
    """Selection counts the pairs over the maximum length and keeps no empty source."""
    chosen = select(corpus, 30)
    assert chosen.too_long == int(((corpus.source.lengths > 30) | (corpus.target.lengths > 30)).sum())
    assert corpus.source.lengths[chosen.rows].min() > 0


def test_a_sentence_larger_than_the_budget_gets_a_batch_of_its_own(corpus: EncodedCorpus) -> None:
    """With a budget below every length, each batch holds a single sentence."""
    plan = plan_epoch(corpus, select(corpus, 200).rows, 1, 1, 0)
    assert all(len(batch) == 1 for batch in plan)


def test_a_batch_has_its_special_tokens_in_place(corpus: EncodedCorpus) -> None:
    """Targets are shifted between BOS and EOS, sources end in EOS, and padding follows."""
    rows = select(corpus, 200).rows[:5]
    batch = collate(corpus, rows)
    for index, row in enumerate(rows):
        words = corpus.target.values[corpus.target.offsets[row] : corpus.target.offsets[row + 1]].tolist()
        tail = batch.target_input.shape[1] - len(words) - 1
        assert batch.target_input[index].tolist() == [BOS, *words, *[PAD] * tail]
        assert batch.target_output[index].tolist() == [*words, EOS, *[PAD] * tail]
        assert batch.source[index, int(batch.lengths[index]) - 1] == EOS
    assert batch.tokens == int((batch.target_output != PAD).sum())


def test_search_batches_hold_every_sentence_once() -> None:
    """The batches for search partition the sentences; the longest comes first, alone."""
    lengths = [5, 900, 1, 30, 30, 2]
    batches = search_batches(lengths, tokens=300, beam=5)
    assert sorted(index for batch in batches for index in batch) == list(range(6))
    assert batches[0] == [1]


def test_a_damaged_corpus_is_refused(tmp_path: Path) -> None:
    """A file that is not a whole encoded corpus raises a data error."""
    (tmp_path / "x.arrow").write_bytes(b"ARROW1\0\0nonsense")
    with pytest.raises(DataError, match="not an encoded corpus"):
        read_corpus(tmp_path / "x.arrow")
