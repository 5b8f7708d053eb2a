"""The filter that identifies the language of both sides."""

from __future__ import annotations

from collections.abc import Callable

from nmt.config.cleaning import CleaningConfig
from nmt.corpus.languages import alike_in_line, classified, is_known
from nmt_data.cleaning.pairs import Pairs
from nmt_data.shards import Mask

_SHORT = 20  # below this many letters a side is not judged


def wrong_language(pairs: Pairs, config: CleaningConfig) -> Mask:
    """Drops pairs a side of which is in another language with at least the probability `language_confidence`."""
    if config.language_confidence is None:
        return pairs.none()
    sides = [_judge(language, config.language_confidence) for language in pairs.languages]
    return pairs.each(lambda source, target: sides[0](source) or sides[1](target))


def _judge(language: str, confidence: float) -> Callable[[str], bool]:
    """Returns what tells whether a line is in another language."""
    if not is_known(language):
        return _nothing
    fine = alike_in_line(language)

    def is_other(line: str) -> bool:
        if sum(map(str.isalpha, line)) < _SHORT:
            return False
        found, probability = classified(line)
        return probability >= confidence and found not in fine

    return is_other


def _nothing(_: str) -> bool:
    return False
