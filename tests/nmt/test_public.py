"""The public interface is what it says, and each part of it is described."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import nmt
from command import environment
from nmt_data.prepare import prepare
from tiny import make_recipe

PUBLIC = [
    *("NmtError", "Recipe", "TestSet", "Translation", "Translator", "__version__"),
    *("attend", "evaluate", "load", "load_recipe", "score", "train"),
]


def test_what_is_exported() -> None:
    """Neither more nor less; a name is added or taken on purpose."""
    assert nmt.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(nmt))
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = nmt.other  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_each_is_described(name: str) -> None:
    """Functions with their arguments, and what they raise."""
    part = getattr(nmt, name)
    assert part.__doc__
    if inspect.isfunction(part):
        assert "Args:" in part.__doc__
        assert "Raises:" in part.__doc__
        for argument in inspect.signature(part).parameters:
            assert f"        {argument}:" in part.__doc__, argument


def test_importing_it_is_quick() -> None:
    """Torch comes with what needs it."""
    script = "import nmt, sys; sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], env=environment(), check=True)


def test_a_recipe_is_trained_and_translates(tmp_path: Path) -> None:
    """By the public names alone."""
    recipe = make_recipe(training={"updates": 2})
    model = nmt.train(recipe, prepare(recipe), tmp_path / "run", device="cpu")
    translator = nmt.load(model, device="cpu", beam=2)
    testset = nmt.TestSet("letters", ["a b"], ["b a"])
    assert nmt.evaluate(translator, testset, metrics=("bleu",)).hypotheses == translator.translate(["a b"])
    assert nmt.score(["b a"], ["b a"], metrics=("chrf2",))[0].value == pytest.approx(100)
