"""The view of score functions."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch

from looking import ATTENDING, TARGET, TEXT, make_translator
from nmt.config.model import ScoreName
from nmt.inspection.asking import written
from nmt.inspection.scores import ScoresRequest, look, scores
from nmt.models.rnn.model import RnnSeq2Seq
from nmt.models.rnn.scores import make_score
from tiny import FAMILIES

RNNS = [name for name in ATTENDING if name in FAMILIES and FAMILIES[name].kind == "rnn"]
STEP = 2


def _forms(name: str, single: bool = False) -> list[dict[str, Any]]:
    request = ScoresRequest(models=["m"], text=TEXT, target=TARGET, step=STEP)
    answer = scores({"m": make_translator(name, single)}, request)
    assert answer["step_word"] == TARGET.split()[STEP]
    assert answer["source"] == [*TEXT.split(), "</s>"]
    found: list[dict[str, Any]] = answer["forms"]
    return found


@pytest.mark.parametrize("name", RNNS)
def test_weights_are_those_of_the_model(name: str) -> None:
    """Summed over the pieces of a word: the attention when the first piece of the target word is predicted."""
    translator = make_translator(name)
    target = written(translator, TARGET)
    place = target.numbers.index(STEP)
    maps = translator.decoder.attention_maps(translator.encode(TEXT), target.tokens)  # (1, 1, T + 1, S + 1)
    seen = look(translator, TEXT, target.tokens, place)
    torch.testing.assert_close(seen.weights.mean(0), maps[0, 0, place].double(), rtol=1e-5, atol=1e-6)
    own = [form for form in _forms(name) if form["trained"]]
    assert len(own) == (2 if name == "multi-head" else 1)
    pieces = iter(maps[0, 0, place].tolist())
    words = [sum(next(pieces) for _ in translator.tokenizers.source.encode([word])[0]) for word in TEXT.split()]
    assert np.mean([form["weights"] for form in own], 0)[:-1] == pytest.approx(words, abs=1e-3)


@pytest.mark.parametrize("name", [name for name in RNNS if FAMILIES[name].model_dump().get("weighting") == "softmax"])
def test_weights_are_the_softmax_of_the_energies(name: str) -> None:
    """Over words too: a word of several pieces has the logarithm of the sum of their exponentials."""
    forms = _forms(name)
    for form in forms:
        powers = [math.exp(energy - max(form["energies"])) for energy in form["energies"]]
        assert form["weights"] == pytest.approx([power / sum(powers) for power in powers], abs=1e-3)
    assert name == "location" or not all(form["trained"] for form in forms)


def test_energies_are_the_formulas() -> None:
    """In plain NumPy, on the vectors that are compared: v . tanh(q + k) and q . k; plain forms on the same vectors."""
    for name in ("additive", "bilinear", "dot", "scaled-dot"):
        translator = make_translator(name)
        model = translator.decoder.model
        assert isinstance(model, RnnSeq2Seq)
        seen = look(translator, TEXT, written(translator, TARGET).tokens, 3)
        query, keys = seen.query.numpy(), seen.keys.numpy()
        expected = keys @ query
        if name == "additive":
            vector = model.decoder.score.combine.weight[0].numpy()  # type: ignore[union-attr,index]
            expected = np.array([vector @ np.tanh(query + key) for key in keys])
        if name == "scaled-dot":
            expected = expected / math.sqrt(len(query))
        assert seen.energies[0].numpy() == pytest.approx(expected)
    plain = {form["name"]: form for form in _forms("additive") if not form["trained"]}
    assert set(plain) == {"dot", "scaled_dot"}


@pytest.mark.parametrize("name", ["additive", "additive-lstm", "coverage", "multi-head"])
def test_what_replaces_a_score_has_its_energies(name: str) -> None:
    """In float32 the tanh is computed by exponentials up to a constant; the view adds the constant, and changes no model."""
    for exact, fast in zip(_forms(name), _forms(name, single=True), strict=True):
        assert [exact[key] for key in ("name", "formula", "trained")] == [
            fast[key] for key in ("name", "formula", "trained")
        ]
        assert fast["energies"] == pytest.approx(exact["energies"], abs=2e-3)
        assert fast["weights"] == pytest.approx(exact["weights"], abs=2e-3)


def test_several_models_stand_side_by_side() -> None:
    """Each has its own score first; the translation is that of the first model. s_i-1 is the state before a step."""
    models = {name: make_translator(name) for name in ("additive", "bilinear", "location")}
    answer = scores(models, ScoresRequest(models=list(models), text=TEXT, step=0))
    assert [form["model"] for form in answer["forms"] if form["trained"]] == list(models)
    assert [form["formula"] for form in answer["forms"] if form["trained"]] == [
        "e_ij = v · tanh(W s_i-1 + U h_j)",
        "e_ij = s_i-1 · W h_j",
        "e_ij = (W s_i)_j",
    ]


def test_every_score_has_a_formula() -> None:
    """Which names the energy."""
    formulas = {make_score(name, 4, 4, heads=2).formula for name in get_args(ScoreName)}
    assert len(formulas) == len(get_args(ScoreName))
    assert all(formula.startswith("e_ij = ") for formula in formulas)
