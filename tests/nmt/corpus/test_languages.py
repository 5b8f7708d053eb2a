"""Languages are identified in one place, with two tables of those that read alike."""

from __future__ import annotations

from collections.abc import Callable, Set
from pathlib import Path

import pytest

from nmt.corpus.languages import alike_in_line, alike_in_text, classified, code_of, is_known, ranked

ROOT = Path(__file__).parents[3]


def test_one_module_knows_the_library() -> None:
    """No other source file imports it."""
    sources = [path for folder in ("nmt", "data", "cli") for path in (ROOT / folder).rglob("*.py")]
    named = [
        path.name for path in sources if "import py3langid" in (text := path.read_text()) or "from py3langid" in text
    ]
    assert named == ["languages.py"]


@pytest.mark.parametrize(
    ("language", "code"), [("de", "de"), ("deu", "de"), ("de_AT", "de"), ("sr-Latn", "sr"), ("DEU_Latn", "de")]
)
def test_a_code_has_two_letters(language: str, code: str) -> None:
    """Regions, scripts and the third letter do not matter."""
    assert code_of(language) == code


@pytest.mark.parametrize("alike", [alike_in_text, alike_in_line])
def test_reading_alike_goes_both_ways(alike: Callable[[str], Set[str]]) -> None:
    """Every language reads like itself, and like those that read like it."""
    for one in ("de", "no", "nb", "da", "hr", "sl", "id", "jv", "cs", "zh", "nl", "pt"):
        assert one in alike(one)
        assert all(one in alike(other) for other in alike(one))
    assert "sk" in alike_in_line("cs")
    assert "sk" not in alike_in_text("cs")


def test_both_answers_agree() -> None:
    """The first of the ranked languages is the one that a line is classified as, with a probability."""
    pytest.importorskip("py3langid")
    for line, language in (
        ("Der Hund schläft im Garten hinter dem Haus.", "de"),
        ("Le chien dort dans le jardin.", "fr"),
    ):
        assert ranked(line)[0][0] == language
        assert classified(line)[0] == language
        assert 0.5 < classified(line)[1] <= 1
    assert is_known("deu")
    assert not is_known("qaa")
