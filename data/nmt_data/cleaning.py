"""Cleaning of training pairs, shard by shard: every pair that is dropped is counted under its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nmt.config.data import CleaningConfig
from nmt.corpus.lines import clean_line, has_control
from nmt.corpus.words import Normalisers, count_letters, count_words, lower
from nmt_data.shards import Mask, packed

_SHORT = 20  # below this many characters the length ratio is not judged


@dataclass(frozen=True)
class Pairs:
    """Pairs of two languages; line i of one side belongs to line i of the other."""

    source: Sequence[str]
    target: Sequence[str]
    languages: tuple[str, str] = ("", "")

    def only(self, rows: Mask) -> Pairs:
        """Returns those of the pairs for which `rows` is true."""
        chosen = np.flatnonzero(rows).tolist()
        return Pairs([self.source[row] for row in chosen], [self.target[row] for row in chosen], self.languages)

    def each(self, wanted: Callable[[str, str], bool]) -> Mask:
        """Asks for every pair; returns (N,) answers."""
        return np.fromiter(map(wanted, self.source, self.target), bool, len(self.source))


Filter = Callable[[Pairs, CleaningConfig], Mask]
"""Returns which pairs are to be dropped (N,)."""


def empty(pairs: Pairs, _: CleaningConfig) -> Mask:
    """Drops pairs of which a side has no text."""
    return pairs.each(lambda source, target: not source or not target)


def too_long(pairs: Pairs, config: CleaningConfig) -> Mask:
    """Drops pairs of which a side has more than `max_words` words."""
    most = config.max_words
    return pairs.each(lambda source, target: count_words(source) > most or count_words(target) > most)


def length_ratio(pairs: Pairs, config: CleaningConfig) -> Mask:
    """Drops pairs of which a side has more than `max_ratio` times the letters of the other."""

    def differ(source: str, target: str) -> bool:
        one, other = count_letters(source), count_letters(target)
        return max(one, other) >= _SHORT and max(one, other) > config.max_ratio * min(one, other)

    return pairs.each(differ)


def identical_sides(pairs: Pairs, config: CleaningConfig) -> Mask:
    """Drops pairs whose sides are the same text, if `drop_identical` says so."""
    return pairs.each(lambda source, target: config.drop_identical and source == target)


FILTERS: dict[str, Filter] = {
    "empty": empty,
    "too long": too_long,
    "length ratio": length_ratio,
    "identical sides": identical_sides,
}
"""All filters that judge a pair by itself, in their order, by the reason that the report names."""


@dataclass(frozen=True)
class Raw:
    """Pairs as they were read, at most as many as a shard has."""

    number: int
    pairs: Pairs
    mono: bool
    """Whether they are lines without translations, each as a pair with itself."""


@dataclass(frozen=True)
class Cleaned:
    """A shard, and what became of the pairs of which it was made."""

    shard: bytes
    rows: int
    read: int
    dropped: Counter[str]
    mended: Counter[str]


@dataclass
class Cleaner:
    """Makes clean shards of raw pairs."""

    config: CleaningConfig
    lowercase: bool = False

    def __post_init__(self) -> None:
        self._normalisers = Normalisers()

    def __call__(self, raw: Raw) -> Cleaned:
        """Mends lines and drops pairs that are not worth training on; repeated ones get the same key."""
        pairs, mended = self._mended(raw.pairs)
        config = self.config.model_copy(update={"drop_identical": False}) if raw.mono else self.config
        dropped: Counter[str] = Counter()
        for reason, judge in FILTERS.items():
            bad = judge(pairs, config)
            if count := int(bad.sum()):
                dropped[reason] = count
                pairs = pairs.only(~bad)
        keys = None if config.duplicates == "keep" else self._keys(pairs, raw.mono)
        shard = packed(pairs.source, pairs.target, raw.number, keys)
        return Cleaned(shard, len(pairs.source), len(raw.pairs.source), dropped, mended)

    def _mended(self, pairs: Pairs) -> tuple[Pairs, Counter[str]]:
        """Lower-cases if asked, and replaces control characters by spaces."""
        source, target = pairs.source, pairs.target
        if self.lowercase:
            source = [lower(line, pairs.languages[0]) for line in source]
            target = [lower(line, pairs.languages[1]) for line in target]
        controls = sum(has_control(one) or has_control(other) for one, other in zip(source, target, strict=True))
        mended = Pairs(list(map(clean_line, source)), list(map(clean_line, target)), pairs.languages)
        return mended, Counter({"control characters": controls} if controls else {})

    def _keys(self, pairs: Pairs, mono: bool) -> list[str]:
        kind = "\0".join(("text" if mono else "pair", *pairs.languages))
        source, target = pairs.source, pairs.target
        if self.config.duplicates == "normalised":
            source = list(map(self._normalisers[pairs.languages[0]], source))
            target = list(map(self._normalisers[pairs.languages[1]], target))
        return [f"{kind}\0{one}\0{other}" for one, other in zip(source, target, strict=True)]
