"""Typing errors are drawn anew for each epoch, on the source alone, as a pure function of seed, epoch and row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nmt.errors import ConfigError
from nmt.training.stream import BatchStream
from nmt_data.prepare import prepare
from tiny import make_recipe

SETTINGS = {
    "data": {"corpus": "phrasebook", "source": "de", "target": "en", "limit": 300},
    "tokenizer": {"kind": "bpe", "vocabulary": 300},
}


def test_typing_errors_are_drawn_for_each_epoch(home: Path) -> None:
    """Two streams agree on any epoch, two epochs differ, about a fifth of the words is hit, and targets stay as they are."""
    recipe = make_recipe(**SETTINGS, training={"typos": 0.2})
    prepared = prepare(recipe)
    stream, again = BatchStream(recipe, prepared), BatchStream(recipe, prepared)
    first, second = stream.epoch(0).corpus, stream.epoch(1).corpus
    assert np.array_equal(again.epoch(1).corpus.source.values, second.source.values)
    assert not np.array_equal(first.source.offsets, second.source.offsets)
    assert first.target is second.target is prepared.train.target
    tokenizer, lines = prepared.tokenizers.source, prepared.training_text().source
    parts = np.split(first.source.values, first.source.offsets[1:-1])
    typed = tokenizer.decode([part.tolist() for part in parts])
    pairs = [(old.split(), new.split()) for old, new in zip(lines, typed, strict=True)]
    words = [both for old, new in pairs for both in zip(old, new, strict=True)]
    hit = sum(one != other for one, other in words) / len(words)
    assert 0.13 < hit < 0.24
    stream.close()
    again.close()


def test_typing_errors_do_not_go_with_bpe_dropout() -> None:
    """Both would make the tokens of an epoch."""
    with pytest.raises(ConfigError, match=r"typos and training.bpe_dropout"):
        make_recipe(tokenizer={"kind": "bpe"}, training={"typos": 0.1, "bpe_dropout": 0.1})
