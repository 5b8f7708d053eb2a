"""Cleaning of training pairs, shard by shard: every pair that is dropped is counted under its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nmt.config.data import DataConfig
from nmt.corpus.lines import clean_line, has_control
from nmt.corpus.normalising import line_normaliser
from nmt.corpus.words import Normalisers, lower
from nmt_data.cleaning.filters import in_order
from nmt_data.cleaning.mending import mended_encoding
from nmt_data.cleaning.minhash import bands_of
from nmt_data.cleaning.pairs import Pairs
from nmt_data.dropped import EXAMPLES, Dropped
from nmt_data.shards import packed


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
    dropped: Dropped
    mended: Counter[str]


@dataclass
class Cleaner:
    """Makes clean shards of raw pairs."""

    data: DataConfig
    whole: bool = False
    """Whether to return all dropped pairs, not only some examples."""

    def __post_init__(self) -> None:
        self._normalisers = Normalisers()

    def __call__(self, raw: Raw) -> Cleaned:
        """Mends lines and drops pairs that are not worth training on; repeated ones get the same key."""
        pairs, mended = self.mended(raw.pairs)
        config = self.data.cleaning
        if raw.mono:
            config = config.model_copy(update={"drop_identical": False})
        dropped = Dropped(None if self.whole else EXAMPLES)
        for reason, judge in in_order(config).items():
            bad = judge(pairs, config)
            if count := int(bad.sum()):
                removed = pairs.only(bad)
                dropped.add(reason, count, removed.source, removed.target)
                pairs = pairs.only(~bad)
        kind = "\0".join(("text" if raw.mono else "pair", *pairs.languages))
        keys, near = None, config.near_duplicates
        if config.duplicates != "keep":
            keys = [f"{kind}\0{text}" for text in self._joined(pairs, config.duplicates == "normalised")]
        bands = None if near is None else bands_of(self._joined(pairs, normalised=True), near, kind)
        shard = packed(pairs.source, pairs.target, raw.number, keys, bands)
        return Cleaned(shard, len(pairs), len(raw.pairs), dropped, mended)

    def mended(self, pairs: Pairs) -> tuple[Pairs, Counter[str]]:
        """Mends the encoding, normalises and lower-cases if asked, and replaces control characters by spaces."""
        counts: Counter[str] = Counter()
        sides = pairs.source, pairs.target
        if self.data.cleaning.mend_encoding:
            before, sides = sides, (mended_encoding(pairs.source), mended_encoding(pairs.target))
            counts["encoding"] = sum(old != new for old, new in zip(_rows(before), _rows(sides), strict=True))
        first, second = pairs.languages
        if (kind := self.data.normalise) != "none":
            normalise = line_normaliser(kind, first), line_normaliser(kind, second)
            sides = list(map(normalise[0], sides[0])), list(map(normalise[1], sides[1]))
        if self.data.lowercase:
            sides = [lower(line, first) for line in sides[0]], [lower(line, second) for line in sides[1]]
        counts["control characters"] = sum(has_control(one) or has_control(other) for one, other in _rows(sides))
        return Pairs(list(map(clean_line, sides[0])), list(map(clean_line, sides[1])), pairs.languages), +counts

    def _joined(self, pairs: Pairs, normalised: bool) -> list[str]:
        source, target = pairs.source, pairs.target
        if normalised:
            source = list(map(self._normalisers[pairs.languages[0]], source))
            target = list(map(self._normalisers[pairs.languages[1]], target))
        return [f"{one}\0{other}" for one, other in zip(source, target, strict=True)]


def _rows(sides: tuple[Sequence[str], Sequence[str]]) -> Iterator[tuple[str, str]]:
    return zip(sides[0], sides[1], strict=True)
