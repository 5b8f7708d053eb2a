"""The filter that identifies the language of both sides, by py3langid (Lui and Baldwin 2012, "langid.py")."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from nmt.config.cleaning import CleaningConfig
from nmt_data.cleaning.pairs import Pairs
from nmt_data.cleaning.scripts import two_letters
from nmt_data.shards import Mask

_SHORT = 20  # below this many letters a side is not judged
# Languages that read alike: one that is taken for another is not wrong.
_ALIKE = ("no nb nn da", "hr sr bs sl", "id ms jv", "cs sk", "zh yue", "hi mr ne", "gl pt", "tl fil", "af nl", "ur fa")


def wrong_language(pairs: Pairs, config: CleaningConfig) -> Mask:
    """Drops pairs a side of which is in another language with at least the probability `language_confidence`."""
    if config.language_confidence is None:
        return pairs.none()
    sides = [_judge(language, config.language_confidence) for language in pairs.languages]
    return pairs.each(lambda source, target: sides[0](source) or sides[1](target))


def is_known(language: str) -> bool:
    """Whether a language can be identified."""
    return _code(language) in _identifier().labels


def _judge(language: str, confidence: float) -> Callable[[str], bool]:
    """Returns what tells whether a line is in another language."""
    own, identifier = _code(language), _identifier()
    if own not in identifier.labels:
        return _nothing
    fine = {own}.union(*(alike.split() for alike in _ALIKE if own in alike.split()))

    def is_other(line: str) -> bool:
        if sum(map(str.isalpha, line)) < _SHORT:
            return False
        found, probability = identifier.classify(line)
        return probability >= confidence and found not in fine

    return is_other


def _nothing(_: str) -> bool:
    return False


def _code(language: str) -> str:
    return two_letters(language.replace("_", "-").split("-")[0].lower())


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
