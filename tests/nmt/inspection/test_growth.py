"""The view of a growing source."""

from __future__ import annotations

import math

import pytest

from looking import TEXT, make_translator
from nmt.inspection.growth import GrowthRequest, growth


def test_each_length_is_translated_alone() -> None:
    """By each model, with the full stop of the line; bits per token are those of its log-probability."""
    models = {name: make_translator(name, single=True) for name in ("bottleneck", "additive", "transformer")}
    answer = growth(models, GrowthRequest(models=list(models), text=TEXT))
    assert answer["words"] == TEXT.split()
    assert [step["length"] for step in answer["steps"]] == [1, 2, 3, 4, 5]
    assert [step["source"] for step in answer["steps"][:2]] == ["Der.", "Der alte."]
    assert answer["steps"][-1]["source"] == TEXT
    for step in answer["steps"]:
        for name, said in step["models"].items():
            best = models[name].translate_n_best([step["source"]], 1)[0][0]
            assert said["text"] == best.text
            assert said["log_probability_per_token"] == pytest.approx(best.log_probability / best.tokens)
            assert said["bits_per_token"] == pytest.approx(-best.log_probability / best.tokens / math.log(2))


def test_marks_end_each_beginning_once() -> None:
    """A comma gives way to the mark, and a line without a mark gets none."""
    models = {"m": make_translator("additive", single=True)}
    for text, sources in (("Ja, gut!", ["Ja!", "Ja, gut!"]), ("Ja gut", ["Ja", "Ja gut"]), ("Ja .", ["Ja", "Ja ."])):
        answer = growth(models, GrowthRequest(models=["m"], text=text))
        assert [step["source"] for step in answer["steps"]] == sources
