"""Filters that look at the length of the sides, and at whether they are the same."""

from __future__ import annotations

from nmt.config.cleaning import CleaningConfig
from nmt.corpus.words import count_letters, count_words
from nmt_data.cleaning.pairs import Pairs
from nmt_data.shards import Mask

_SHORT = 20  # below this many characters the length ratio is not judged


def empty(pairs: Pairs, _: CleaningConfig) -> Mask:
    """Drops pairs of which a side has no text."""
    return pairs.each(lambda source, target: not source or not target)


def too_long(pairs: Pairs, config: CleaningConfig) -> Mask:
    """Drops pairs of which a side has more than `max_words` words."""
    most = config.max_words
    return pairs.either(lambda side: count_words(side) > most)


def length_ratio(pairs: Pairs, config: CleaningConfig) -> Mask:
    """Drops pairs of which a side has more than `max_ratio` times the letters of the other."""

    def differ(source: str, target: str) -> bool:
        one, other = count_letters(source), count_letters(target)
        return max(one, other) >= _SHORT and max(one, other) > config.max_ratio * min(one, other)

    return pairs.each(differ)


def identical_sides(pairs: Pairs, config: CleaningConfig) -> Mask:
    """Drops pairs whose sides are the same text, if `drop_identical` says so."""
    return pairs.each(lambda source, target: config.drop_identical and source == target)
