"""Minimum Bayes risk decoding: the draw that agrees most with the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from sacrebleu.metrics.chrf import CHRF

from command import run
from nmt.config.search import SamplingConfig
from nmt.storage.bundle import load_model
from nmt.translation.mbr import expected_utilities
from nmt.translation.result import Options
from nmt.translation.translator import Translator

SAMPLES = ["a dog runs", "a dog runs", "the dog runs", "a cat sleeps", "x"]


def test_expected_utility_is_the_mean_over_all_draws() -> None:
    """Against the double loop, with a draw that came twice."""
    metric = CHRF()
    expected = [sum(metric.sentence_score(one, [other]).score for other in SAMPLES) / len(SAMPLES) for one in SAMPLES]
    assert expected_utilities(SAMPLES) == pytest.approx(expected)
    assert max(zip(expected_utilities(SAMPLES, "bleu"), SAMPLES, strict=True))[1] == "a dog runs"


def test_bleu_of_draws_splits_words_as_the_language_needs() -> None:
    """Chinese draws that share letters agree; by 13a each is one word, and no two do."""
    draws = ["我们今天买书", "我们今天买花", "她要茶和面包"]
    assert expected_utilities(draws, "bleu", "zh")[0] > expected_utilities(draws, "bleu", "zh")[2]
    assert len(set(expected_utilities(draws, "bleu"))) == 1


def test_translations_are_ranked_by_agreement(trained: Path) -> None:
    """Best first, none twice, the same for any batch; a single draw is itself."""
    loaded = load_model(trained)
    lines = ["Der Hund schläft.", "", "Ich sehe die Katze."]
    found = []
    for size in (1, 3):
        translator = Translator(
            loaded,
            search=loaded.recipe.search.model_copy(update={"beam": 8}),
            batch_size=size,
            options=Options(sampling=SamplingConfig(epsilon=0.02), mbr="chrf2"),
        )
        found.append(translator.translate_n_best(lines, 3))
    assert [[item.text for item in row] for row in found[0]] == [[item.text for item in row] for row in found[1]]
    for translations in found[0]:
        scores = [item.score for item in translations]
        assert scores == sorted(scores, reverse=True)
        assert len({item.text for item in translations}) == len(translations)


def test_the_command_draws_and_chooses(trained: Path) -> None:
    """MBR on the command line gives one translation per line and refuses unsuitable options."""
    shown = run("translate", trained, "--mbr", "chrf2", "--samples", "6", stdin=b"Ein Hund.\n\nEine Katze.\n")
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout.count("\n") == 3
    wrong = run("translate", trained, "--mbr", "ter")
    assert (wrong.exit_code, "--mbr must be chrf2 or bleu, got ter" in wrong.stderr) == (1, True)
    alone = run("translate", trained, "--samples", "4")
    assert (alone.exit_code, "--samples is for --mbr" in alone.stderr) == (1, True)
