"""Identifies the language of corpora, by py3langid (Barbaresi 2021, after Lui and Baldwin 2012, "langid.py").

The server, which may not import this package, asks the library itself: `nmt.serving.languages`.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

from nmt_data.cleaning.scripts import two_letters

# Languages that read alike: many lines together do not tell these apart, and one line does not tell those apart.
_IN_TEXT = ("no nb nn da", "hr sr bs", "id ms", "zh yue wuu")
_IN_LINE = (
    "no nb nn da",
    "hr sr bs sl",
    "id ms jv",
    "cs sk",
    "zh yue",
    "hi mr ne",
    "gl pt",
    "tl fil",
    "af nl",
    "ur fa",
)


def is_installed() -> bool:
    """Whether the library is there."""
    return find_spec("py3langid") is not None


def is_known(language: str) -> bool:
    """Whether a language can be identified."""
    return code_of(language) in _identifier().labels


def code_of(language: str) -> str:
    """Returns the code by which a language is identified: `de` for `de-AT` and `deu`."""
    return two_letters(language.replace("_", "-").split("-")[0].lower())


def ranked(text: str) -> list[tuple[str, float]]:
    """Returns all languages with their scores, the most probable first; the scores are no probabilities."""
    import py3langid

    return list(py3langid.rank(text))


def classified(line: str) -> tuple[str, float]:
    """Returns the most probable language of a line, and its probability."""
    language, probability = _identifier().classify(line)
    return language, probability


def alike_in_text(language: str) -> frozenset[str]:
    """Returns the languages that many lines together may be taken for without being wrong, itself among them."""
    return _group(language, _IN_TEXT)


def alike_in_line(language: str) -> frozenset[str]:
    """Returns the languages that a single line may be taken for without being wrong, itself among them."""
    return _group(language, _IN_LINE)


def _group(language: str, groups: tuple[str, ...]) -> frozenset[str]:
    own = code_of(language)
    return frozenset({own}).union(*(group.split() for group in groups if own in group.split()))


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
