"""All views: what they answer can be written as JSON, is always the same, and what is wrong is said in one line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from looking import ATTENDING, TARGET, TEXT, make_translator
from nmt.errors import NmtError
from nmt.inspection.views import VIEWS
from tiny import FAMILIES, VISUAL

ASKED: dict[str, dict[str, Any]] = {
    "attention": {"model": "m", "text": TEXT, "target": TARGET},
    "surprise": {"model": "m", "text": TEXT, "target": TARGET},
    "beam": {"model": "m", "text": TEXT, "beam": 3},
    "alternatives": {"model": "m", "text": TEXT, "prefix": "The", "count": 3},
    "scores": {"models": ["m"], "text": TEXT, "step": 0},
    "growth": {"models": ["m"], "text": TEXT},
}
SOME = ("bottleneck", "additive", "multi-head", "convolution", "transformer", "visual")
OTHERS = [name for name in FAMILIES | VISUAL if name not in SOME]
RNNS = [name for name in ATTENDING if name in FAMILIES and FAMILIES[name].kind == "rnn"]


@pytest.mark.parametrize("name", [*SOME, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_every_view_answers_of_every_family(name: str) -> None:
    """In JSON without infinities, the same whatever was asked before; or it refuses, where there is nothing to see."""
    models = {"m": make_translator(name, single=True)}

    def ask(view: str) -> str:
        try:
            return json.dumps(VIEWS[view].run(models, VIEWS[view].request.model_validate(ASKED[view])), allow_nan=False)
        except NmtError as error:
            return str(error)

    first = {view: ask(view) for view in VIEWS}
    assert {view: ask(view) for view in reversed(VIEWS)} == first
    refused = {view for view, answer in first.items() if not answer.startswith("{")}
    assert refused == {view for view, names in (("attention", ATTENDING), ("scores", RNNS)) if name not in names}
    assert name in ATTENDING or "has no attention; its one vector" in first["attention"]


@pytest.mark.parametrize("view", VIEWS)
def test_questions_have_limits(view: str) -> None:
    """Unknown fields, long lines, wide beams, many models and missing fields are refused; a question cannot be changed."""
    request, good = VIEWS[view].request, ASKED[view]
    for wrong in ({"colour": 1}, {"text": "a" * 2001}, {"text": None}):
        with pytest.raises(ValidationError):
            request.model_validate(good | wrong)
    for field, value in (("beam", 21), ("beam", 0), ("models", ["m"] * 5), ("models", []), ("count", 21), ("step", -1)):
        if field in good:
            with pytest.raises(ValidationError):
                request.model_validate(good | {field: value})
    with pytest.raises(ValidationError):
        request.model_validate(good).text = "b"  # type: ignore[attr-defined]  # every request has it


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_wrong_is_said_in_one_line(view: str) -> None:
    """A model that is not there, with the nearest name; a blank line; a search of another kind; a step after the end."""
    models = {"small": make_translator("additive")}
    names = {"models": ["small"]} if "models" in ASKED[view] else {"model": "small"}
    far = {key: ["smal"] if key == "models" else "smal" for key in names}
    for change, said in ((far, "did you mean 'small'"), (names | {"text": " "}, "no words|none")):
        with pytest.raises(NmtError, match=said):
            VIEWS[view].run(models, VIEWS[view].request.model_validate(ASKED[view] | change))
    if view in ("beam", "alternatives"):
        other = {"small": make_translator("additive", groups=2)}
        with pytest.raises(NmtError, match="plain beam search"):
            VIEWS[view].run(
                other, VIEWS[view].request.model_validate(ASKED[view] | names | ({"beam": 4} if view == "beam" else {}))
            )
    if view == "scores":
        with pytest.raises(NmtError, match="step must be below"):
            VIEWS[view].run(models, VIEWS[view].request.model_validate(ASKED[view] | names | {"step": 500}))
    if view == "growth":
        with pytest.raises(NmtError, match="at most 100 words"):
            VIEWS[view].run(models, VIEWS[view].request.model_validate(ASKED[view] | names | {"text": "a " * 101}))
