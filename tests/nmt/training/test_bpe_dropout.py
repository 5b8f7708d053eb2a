"""BPE-dropout cuts words anew in each epoch, and keeps the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nmt.corpus.bpe_dropout import BpeDropout
from nmt.corpus.prepared import Prepared
from nmt.errors import ConfigError, DataError
from nmt.training.batches import Batch
from nmt.training.stream import BatchStream, StreamPosition
from nmt.training.trainer import Trainer
from nmt_data.prepare import prepare
from tiny import make_recipe


@pytest.fixture(scope="module")
def phrases(home: Path) -> tuple[Any, Prepared]:
    """A recipe and its corpus with BPE over real words."""
    recipe = make_recipe(
        data={"corpus": "phrasebook", "source": "de", "target": "en", "limit": 400},
        tokenizer={"kind": "bpe", "vocabulary": 300},
        training={"bpe_dropout": 0.1, "batch_tokens": 500},
    )
    return recipe, prepare(recipe)


def test_bpe_dropout_keeps_the_text_and_varies_the_pieces(phrases: tuple[Any, Prepared]) -> None:
    """Each epoch has pieces of its own, more of them than the plain ones; any place is the same whenever it is drawn."""
    recipe, prepared = phrases
    stream, again = BatchStream(recipe, prepared), BatchStream(recipe, prepared)
    tokenizer = prepared.tokenizers.target
    epochs = [stream.epoch(number).corpus.target for number in (0, 1)]
    texts = [
        tokenizer.decode([part.tolist() for part in np.split(ragged.values, ragged.offsets[1:-1])])
        for ragged in (*epochs, prepared.train.target)
    ]
    assert texts[0] == texts[1] == texts[2]
    plain = len(prepared.train.target.values)
    assert not np.array_equal(epochs[0].offsets, epochs[1].offsets)
    assert all(1.03 * plain < len(ragged.values) < 2 * plain for ragged in epochs)
    place, late = StreamPosition(), StreamPosition(1, 2)
    for _ in range(len(stream.epoch(0).plan) + 2):
        place = stream.draw(place).after
    drawn = stream.draw(place)
    other = again.draw(late)
    assert isinstance(drawn.batch, Batch)
    assert isinstance(other.batch, Batch)
    assert torch.equal(drawn.batch.source, other.batch.source)
    assert torch.equal(drawn.batch.target_output, other.batch.target_output)
    stream.close()
    again.close()


def _rare(phrases: tuple[Any, Prepared], **training: Any) -> tuple[Any, Prepared]:
    recipe, prepared = phrases
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=training)}), prepared


def test_epochs_without_a_pair_that_fits_are_passed_over(phrases: tuple[Any, Prepared], tmp_path: Path) -> None:
    """Whether they are the first ones or several in a row; what follows is drawn as ever, and training goes on."""
    recipe, prepared = _rare(phrases, bpe_dropout=0.5, max_length=10, updates=3, validate_every=3)
    stream = BatchStream(recipe, prepared)
    sizes = {number: len(stream.epoch(number).plan) for number in range(10)}
    assert [sizes[number] for number in (0, 1)] == [0, 0]
    place, seen = StreamPosition(), []
    for _ in range(sum(sizes.values())):
        drawn = stream.draw(place)
        place = drawn.after
        seen.append((place.epoch, place.position))
    assert seen == [(number, batch + 1) for number, size in sizes.items() for batch in range(size)]
    assert len(stream.largest().source)
    stream.close()
    assert Trainer(recipe, prepared, tmp_path, torch.device("cpu")).run().step == 3


def test_a_limit_that_no_drawn_pair_keeps_is_one_line(phrases: tuple[Any, Prepared]) -> None:
    """It names the limit and what draws the text."""
    stream = BatchStream(*_rare(phrases, bpe_dropout=0.9, max_length=8))
    with pytest.raises(
        DataError, match=r"20 epochs in a row.* raise training\.max_length = 8, .* training\.bpe_dropout"
    ):
        stream.draw(StreamPosition())
    stream.close()


def test_bpe_dropout_is_for_bpe() -> None:
    """BPE-dropout in a recipe with another kind of tokenizer is a configuration error."""
    with pytest.raises(ConfigError, match=r"training.bpe_dropout needs tokenizer.kind = 'bpe', got 'word'"):
        make_recipe(training={"bpe_dropout": 0.1})


def test_words_in_blocks_are_those_of_the_whole_side(
    phrases: tuple[Any, Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch is the same whatever the size of the blocks in which the words were found, which part no merges."""
    _, prepared = phrases
    tokenizer, plain = prepared.tokenizers.source, prepared.train.source
    whole = BpeDropout(tokenizer, plain, 0.3, "x")
    for size in (1, 7, 100):
        monkeypatch.setattr("nmt.corpus.encoded.BLOCK", size)
        parts = BpeDropout(tokenizer, plain, 0.3, "x")
        assert np.array_equal(whole.epoch(1).values, parts.epoch(1).values)
    assert np.array_equal(BpeDropout(tokenizer, plain, 1e-9, "x").epoch(0).values, plain.values)
