"""The real corpora under NMT_DATA, where they are."""

from __future__ import annotations

import pytest

from nmt_data.prepare import prepare
from tiny import make_recipe

pytestmark = [pytest.mark.data, pytest.mark.slow]


def test_multi30k_is_read_whole() -> None:
    """All 29,000 pairs but those that cleaning names, and the test sets line by line."""
    recipe = make_recipe(
        data={"corpus": "multi30k", "source": "de", "target": "en"}, tokenizer={"kind": "bpe", "vocabulary": 4000}
    )
    prepared = prepare(recipe)
    train = prepared.report["train"]
    assert train["read"] == 29_000
    assert train["kept"] + sum(train["dropped"].values()) == 29_000
    assert {name: len(prepared.testset(name).source) for name in prepared.testsets()} == {
        "valid": 1014,
        "test_2016_flickr": 1000,
        "test_2017_flickr": 1000,
    }


def test_the_tatoeba_split_leaks_nothing() -> None:
    """No sentence of the held-out Tatoeba sets occurs in the training data on either side."""
    recipe = make_recipe(
        data={"corpus": "tatoeba_deen", "source": "de", "target": "en", "limit": None},
        tokenizer={"kind": "bpe", "vocabulary": 4000},
    )
    report = prepare(recipe).report
    for leak in report["found_in_train"]:
        assert leak["source_exact"] == leak["target_exact"] == 0, leak
