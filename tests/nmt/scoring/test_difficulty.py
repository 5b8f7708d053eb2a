"""How far sentences are from the training data."""

from __future__ import annotations

from pathlib import Path

from command import run
from nmt.scoring.difficulty import novelty, rarity

TRAINING = ["the dog runs fast", "the dog sleeps", "a cat"]


def test_rarity_is_the_count_of_the_rarest_word() -> None:
    """A sentence's rarity is the training frequency of its least frequent word, zero if unknown."""
    assert rarity(["the dog", "the cat", "the bird", ""], TRAINING) == [2, 1, 0, 0]


def test_novelty_is_the_share_of_trigrams_that_are_new() -> None:
    """Short sources are looked for as they are."""
    sources = ["the dog runs fast", "the dog runs away", "a bird sings well", "a cat", "bird", ""]
    assert novelty(sources, TRAINING) == [0, 50, 100, 0, 100, 0]


def test_evaluate_shows_both(trained: Path) -> None:
    """Evaluation with `--difficulty` prints the scores by word rarity and by new trigrams."""
    shown = run("evaluate", trained, "-t", "valid", "--beam", "1", "--difficulty")
    assert shown.exit_code == 0, shown.stderr
    assert "by rarest source word" in shown.stdout
    assert "by new source trigrams" in shown.stdout
    assert "words for each of the reference, translated in" in shown.stdout
