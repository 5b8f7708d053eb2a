"""A source grows word by word: how the translation of each model, and its doubt, change."""

from __future__ import annotations

from typing import Any

from nmt.corpus.lines import clean_line
from nmt.errors import DataError
from nmt.inspection.asking import BITS, SeveralModels, Translators, chosen
from nmt.translation.result import Translation

_LONGEST = 100  # words
_MARKS, _PAUSES = ".!?…。！？", ",;:"


class GrowthRequest(SeveralModels):
    """Asks how models translate the beginnings of a line."""


def growth(translators: Translators, request: GrowthRequest) -> dict[str, Any]:
    """Returns the translation of the first 1, 2, ... words by each model, with its log-probability per token.

    `bits_per_token` is -log2 p(y | x) / T, with T tokens and the end among them. It is how much a model doubts its own
    translation.

    Raises:
        NmtError: the text has no words, or too many.
    """
    words = clean_line(request.text).split()
    if not words:
        raise DataError("the text has no words; write a line to translate")
    if len(words) > _LONGEST:
        raise DataError(f"a line of at most {_LONGEST} words can grow, got {len(words)}")
    lines = _beginnings(words)
    models = {name: chosen(translators, name, request.target_language) for name in request.models}
    found = {name: model.translate_n_best(lines, 1) for name, model in models.items()}
    steps = [
        {
            "length": place + 1,
            "source": lines[place],
            "models": {name: _told(best[place][0]) for name, best in found.items()},
        }
        for place in range(len(lines))
    ]
    return {"words": words, "steps": steps}


def _beginnings(words: list[str]) -> list[str]:
    """Returns the first 1, 2, ... words; the mark that ends the line, such as a full stop, ends each of them."""
    mark = words[-1][-1] if words[-1][-1] in _MARKS and len(words[-1]) > 1 else ""
    shorter = [" ".join(words[:length]) for length in range(1, len(words))]
    return [*((line.rstrip(_PAUSES) + mark if mark else line) for line in shorter), " ".join(words)]


def _told(item: Translation) -> dict[str, Any]:
    mean = item.log_probability / max(1, item.tokens)
    return {"text": item.text, "log_probability_per_token": mean, "bits_per_token": -mean * BITS}
