"""Filters that look at signs: numbers, brackets, markup, repetition, and letters that were lost."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from nmt.config.cleaning import CleaningConfig
from nmt.corpus.words import normalise
from nmt_data.cleaning.pairs import Pairs
from nmt_data.shards import Mask

# Thousands in groups, or any other digits in a row: 3,5 are the two numbers 3 and 5, as 3.5 are.
_NUMBER = re.compile("(?<!\\d)\\d{1,3}(?:[.,'\u066c\u2019 \u00a0\u202f\u2009]\\d{3})+(?!\\d)|\\d+")
_BRACKET = re.compile(r"[()\[\]{}（）［］｛｝【】]")
_NARROW = str.maketrans("（）［］｛｝【】", "()[]{}[]")
_MARKUP = re.compile(
    r"""(?:https?|ftp)://\S+ | \bwww\.\S+  # web addresses
    | (?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+  # e-mail addresses
    | </?[a-zA-Z][^<>]*> | <!--[^<>]*-->  # tags
    | &(?:\#\d+|\#x[0-9a-fA-F]+|[a-zA-Z]\w+);  # character entities
    """,
    re.VERBOSE,
)
_PHRASE = 4  # longest phrase whose repetition is looked for, in words


def replacement_character(pairs: Pairs, config: CleaningConfig) -> Mask:
    """Drops pairs with a replacement character, if `drop_replacement` says so."""
    return pairs.either(lambda side: "\ufffd" in side) if config.drop_replacement else pairs.none()


def markup(pairs: Pairs, config: CleaningConfig) -> Mask:
    """Drops pairs of which more than the share `max_markup` of a side's characters is markup."""
    if (most := config.max_markup) is None:
        return pairs.none()
    return pairs.either(lambda side: sum(map(len, _MARKUP.findall(side))) > most * len(side))


def repetition(pairs: Pairs, config: CleaningConfig) -> Mask:
    """Drops pairs a side of which repeats a letter or a phrase more than `max_repeats` times in a row."""
    if (most := config.max_repeats) is None:
        return pairs.none()
    letter = re.compile(rf"([^\W\d_])\1{{{most}}}", re.IGNORECASE)
    return pairs.either(lambda side: bool(letter.search(side)) or repeats(_words(side)) > most)


def _words(line: str) -> list[str]:
    """Returns the words of a line without case and signs; vowel signs and other marks belong to their word."""
    return [word for word in normalise(line).split() if any(map(str.isalnum, word))]


def repeats(words: Sequence[str]) -> int:
    """Returns how often a phrase of up to four words occurs in a row, at most."""
    most = min(len(words), 1)
    for size in range(1, min(_PHRASE, len(words) // 2) + 1):
        run = 0
        for word, before in zip(words[size:], words, strict=False):
            run = run + 1 if word == before else 0
            most = max(most, 1 + run // size)
    return most


def other_numbers(pairs: Pairs, config: CleaningConfig) -> Mask:
    """Drops pairs whose sides have different numbers, if `drop_other_numbers` says so."""
    if not config.drop_other_numbers:
        return pairs.none()
    return pairs.each(lambda source, target: numbers(source) != numbers(target))


def numbers(line: str) -> Counter[str]:
    """Returns the numbers of a line, each as its digits from 0 to 9, without separators of thousands."""
    found = _NUMBER.findall(line)
    return Counter("".join(str(unicodedata.digit(sign)) for sign in number if sign.isdecimal()) for number in found)


def other_brackets(pairs: Pairs, config: CleaningConfig) -> Mask:
    """Drops pairs whose sides have different brackets, if `drop_other_brackets` says so."""
    if not config.drop_other_brackets:
        return pairs.none()
    return pairs.each(lambda source, target: _brackets(source) != _brackets(target))


def _brackets(line: str) -> Counter[str]:
    return Counter(sign.translate(_NARROW) for sign in _BRACKET.findall(line))
