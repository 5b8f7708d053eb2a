"""The examples run as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from command import environment

EXAMPLES = Path(__file__).parents[1] / "examples"


def _output(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout


def test_a_model_of_your_own_is_searched() -> None:
    """It says its sources backwards."""
    assert _output("own_model.py").splitlines() == ["[7, 6, 5] -0.0000", "[9, 8] -0.0000"]


@pytest.mark.slow
def test_a_sentence_is_translated(trained: Path) -> None:
    """By the best translation, and two for each of two lines."""
    assert len(_output("translate.py", str(trained), "der Hund schläft").splitlines()) == 5


@pytest.mark.slow
def test_attention_is_an_array(trained: Path) -> None:
    """A word of the translation a line."""
    first, *others = _output("attention.py", str(trained), "der Hund schläft").splitlines()
    assert first.startswith("1 layers, 1 heads, ")
    assert len(others) == int(first.split(", ")[2].split()[0]) - 1


def test_every_example_is_tested() -> None:
    """Each script in the examples folder is named in this file."""
    text = Path(__file__).read_text()
    assert all(f'"{path.name}"' in text for path in EXAMPLES.glob("*.py"))
