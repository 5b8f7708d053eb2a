"""Cleaning of training pairs: every pair that is dropped is counted under its reason."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator

from nmt.config import CleaningConfig
from nmt.text import clean_line, has_control

Pair = tuple[str, str]

_SHORT = 20  # characters under which the ratio of two lengths says nothing


class Cleaner:
    """Passes on the pairs worth training on; `dropped` and `mended` say what happened to the others."""

    def __init__(self, config: CleaningConfig) -> None:
        self.config = config
        self.dropped: Counter[str] = Counter()
        self.mended: Counter[str] = Counter()
        self._seen: set[int] = set()

    def clean(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        """The pairs that stay, with control characters turned into spaces."""
        for pair in pairs:
            if any(has_control(side) for side in pair):
                self.mended["control characters"] += 1
            source, target = clean_line(pair[0]), clean_line(pair[1])
            if reason := self._reason(source, target):
                self.dropped[reason] += 1
            else:
                yield source, target

    def _reason(self, source: str, target: str) -> str | None:
        """Why a pair is dropped, or None."""
        if not source or not target:
            return "empty"
        if max(words(source), words(target)) > self.config.max_words:
            return "too long"
        short, long = sorted((len(source), len(target)))
        if long >= _SHORT and long > self.config.max_ratio * short:
            return "length ratio"
        if self.config.drop_identical and source == target:
            return "identical sides"
        if self.config.duplicates != "keep" and self._is_repeated(source, target):
            return "duplicate"
        return None

    def _is_repeated(self, source: str, target: str) -> bool:
        normalised = self.config.duplicates == "normalised"
        key = hash((normalise(source), normalise(target)) if normalised else (source, target))
        if key in self._seen:
            return True
        self._seen.add(key)
        return False


def words(text: str) -> int:
    """Length in words; a script without spaces counts four characters as one."""
    return max(text.count(" ") + 1, len(text) // 4 if " " not in text else 0)


def normalise(text: str) -> str:
    """Text without case, punctuation, compatibility forms and extra spaces: what makes two sentences the same."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_SIGN.sub(" ", folded).split()) or " ".join(folded.split())


_SIGN = re.compile(r"[^\w\s]|_")  # neither a letter or digit nor a space
