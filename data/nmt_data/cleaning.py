"""Cleaning of training pairs: every pair that is dropped is counted under its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from nmt.config.data import CleaningConfig
from nmt.corpus.lines import clean_line, has_control
from nmt.corpus.words import count_letters, count_words, normalise
from nmt_data.audit import Pair, Text, without_leaks

_SHORT = 20  # below this many characters the length ratio is not judged


class Cleaner:
    """Passes on pairs worth training on; `dropped` and `mended` count the others."""

    def __init__(self, config: CleaningConfig) -> None:
        self.config = config
        self.dropped: Counter[str] = Counter()
        self.mended: Counter[str] = Counter()
        self._seen: set[int] = set()

    def clean(self, pairs: Iterable[Pair], languages: tuple[str, str] = ("", "")) -> Iterator[Pair]:
        """Yields the pairs of two languages that are kept, with control characters replaced by spaces."""
        for pair in pairs:
            if any(has_control(side) for side in pair):
                self.mended["control characters"] += 1
            source, target = clean_line(pair[0]), clean_line(pair[1])
            if reason := self._reason((source, target), languages):
                self.dropped[reason] += 1
            else:
                yield source, target

    def without(self, trains: Sequence[Text], testsets: Sequence[Text], reason: str) -> list[Text]:
        """Drops the training pairs with a side in a test set, and counts them under this reason."""
        kept = [without_leaks(train, testsets) for train in trains]
        if gone := sum(len(train.pairs) for train in trains) - sum(len(train.pairs) for train in kept):
            self.dropped[reason] = gone
        return kept

    def _reason(self, pair: Pair, languages: tuple[str, str]) -> str | None:
        """Returns the reason to drop a pair, or None."""
        source, target = pair
        if not source or not target:
            return "empty"
        if max(map(count_words, pair)) > self.config.max_words:
            return "too long"
        short, long = sorted(map(count_letters, pair))
        if long >= _SHORT and long > self.config.max_ratio * short:
            return "length ratio"
        if self.config.drop_identical and source == target:
            return "identical sides"
        if self.config.duplicates != "keep" and self._is_repeated(pair, languages):
            return "duplicate"
        return None

    def _is_repeated(self, pair: Pair, languages: tuple[str, str]) -> bool:
        normalised = self.config.duplicates == "normalised"
        key = hash((tuple(map(normalise, pair, languages)) if normalised else pair, languages))
        if key in self._seen:
            return True
        self._seen.add(key)
        return False
