"""The examples run as they stand."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Runs an example as a script and returns the lines that it prints."""

    def lines(name: str, *arguments: str) -> list[str]:
        monkeypatch.setattr("sys.argv", [name, *arguments])
        with redirect_stdout(StringIO()) as printed:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return printed.getvalue().splitlines()

    return lines


def test_a_model_of_your_own_is_searched(output: Callable[..., list[str]]) -> None:
    """It says its sources backwards."""
    assert output("own_model.py") == ["[7, 6, 5] -0.0000", "[9, 8] -0.0000"]


@pytest.mark.slow
def test_a_sentence_is_translated(trained: Path, output: Callable[..., list[str]]) -> None:
    """By the best translation, and two for each of two lines."""
    assert len(output("translate.py", str(trained), "der Hund schläft")) == 5


@pytest.mark.slow
def test_attention_is_an_array(trained: Path, output: Callable[..., list[str]]) -> None:
    """A word of the translation a line."""
    first, *others = output("attention.py", str(trained), "der Hund schläft")
    assert first.startswith("1 layers, 1 heads, ")
    assert len(others) == int(first.split(", ")[2].split()[0]) - 1


def test_every_example_is_tested() -> None:
    """Each script in the examples folder is named in this file."""
    text = Path(__file__).read_text()
    assert all(f'"{path.name}"' in text for path in EXAMPLES.glob("*.py"))
