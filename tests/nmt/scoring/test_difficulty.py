"""How far sentences are from the training data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from command import run
from nmt.corpus.testset import TestSet
from nmt.scoring.difficulty import novelty, rarity
from nmt.storage.bundle import load_model
from nmt.translation.evaluation import evaluate
from nmt.translation.translator import Translator

TRAINING = ["the dog runs fast", "the dog sleeps", "a cat"]


def test_rarity_is_the_count_of_the_rarest_word() -> None:
    """A sentence's rarity is the training frequency of its least frequent word, zero if unknown."""
    assert rarity(["the dog", "the cat", "the bird", ""], TRAINING) == [2, 1, 0, 0]


def test_novelty_is_the_share_of_trigrams_that_are_new() -> None:
    """Short sources are looked for as they are."""
    sources = ["the dog runs fast", "the dog runs away", "a bird sings well", "a cat", "bird", ""]
    assert novelty(sources, TRAINING) == [0, 50, 100, 0, 100, 0]


@pytest.mark.parametrize("given", [False, True])
def test_test_set_and_train_are_read_alike(trained: Path, given: bool) -> None:
    """Words that `data.normalise` writes alike are the same word, whether a model translates or translations are given."""
    loaded = load_model(trained)
    data = loaded.recipe.data.model_copy(update={"normalise": "nfc"})
    recipe = loaded.recipe.model_copy(update={"data": data})
    testset = TestSet("fresh", ["u\u0308ber dem Haus", "über dem Dach"], ["over the house", "over the roof"])
    training = ["über dem Haus", "das Dach"]
    if given:
        found = evaluate(testset.target, testset, training=training, recipe=recipe)
    else:
        found = evaluate(Translator(dataclasses.replace(loaded, recipe=recipe)), testset, training=training)
    assert [(item.low, item.sentences) for item in found.by_difficulty["rarity"]] == [(1, 2)]
    assert [(item.low, item.sentences) for item in found.by_difficulty["novelty"]] == [(0, 1), (76, 1)]


def test_evaluate_shows_both(trained: Path) -> None:
    """Evaluation with `--difficulty` prints the scores by word rarity and by new trigrams."""
    shown = run("evaluate", trained, "-t", "valid", "--beam", "1", "--difficulty")
    assert shown.exit_code == 0, shown.stderr
    assert "by rarest source word" in shown.stdout
    assert "by new source trigrams" in shown.stdout
    assert "words for each of the reference, translated in" in shown.stdout
