"""Streams of training text: each corpus of a recipe in its direction, then text without translations."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nmt.config.data import DataConfig
from nmt.config.paths import PACKED
from nmt.corpus.opening import size_of
from nmt.runtime.stages import stage
from nmt_data.audit import Pair
from nmt_data.cleaning.cleaner import Raw
from nmt_data.cleaning.pairs import Pairs
from nmt_data.mono import Source, mono_sources
from nmt_data.parts import Part
from nmt_data.reading import Unreadable, read_text
from nmt_data.shards import SIZE


@dataclass(frozen=True)
class Stream:
    """Training text in one direction."""

    name: str
    languages: tuple[str, str]
    files: Sequence[Path]
    read: Callable[[Unreadable], Iterator[Pair]]
    mono: bool = False
    """Whether it has no translations; then each line is a pair with itself."""

    def raw(self, first: int, unreadable: Unreadable) -> Generator[Raw]:
        """Yields its pairs as they are, as many as a shard has; `first` is the number of the first shard.

        Raises:
            DataError: a file cannot be read.
        """
        pairs = self.read(unreadable)
        with stage(f"reading {self.name}", unit="lines" if self.mono else "pairs") as here:
            expected = _Expected(self.files)
            number = first
            while chunk := list(islice(pairs, SIZE)):
                yield Raw(
                    number, Pairs([pair[0] for pair in chunk], [pair[1] for pair in chunk], self.languages), self.mono
                )
                here.done += len(chunk)
                here.total = expected.total(chunk, here.done)
                number += 1
            here.total = 0


class _Expected:
    """Estimates the number of pairs of files from their size and the pairs read so far."""

    def __init__(self, files: Sequence[Path]) -> None:
        plain = all(path.suffix.lower() not in PACKED for path in files)
        self._size = sum(map(size_of, files)) if plain else 0
        self._read = 0

    def total(self, chunk: Sequence[Pair], done: int) -> int:
        """Returns the estimate after some more pairs; 0: there is none."""
        self._read += sum(len(source.encode()) + len(target.encode()) + 2 for source, target in chunk[:100])
        looked_at = 100 * -(-done // SIZE)
        return max(done, round(self._size * looked_at / self._read)) if self._size and self._read else 0


def streams_of(data: DataConfig, parts: Sequence[Part]) -> list[Stream]:
    """Returns the streams of a recipe: first the pairs.

    Raises:
        DataError: a file of text is missing.
    """
    pairs = [_pairs(part, data.limit) for part in parts]
    return [*pairs, *(_lines(source) for source in mono_sources(data, parts[0].card))]


def _pairs(part: Part, limit: int | None) -> Stream:
    split = next(split for split in part.splits() if split.name == "train")
    return Stream(part.card.name, part.languages, split.files, lambda unreadable: islice(split.read(unreadable), limit))


def _lines(source: Source) -> Stream:
    def read(unreadable: Unreadable) -> Iterator[Pair]:
        for path in source.files:
            for line in read_text(path, unreadable):
                yield line, line

    name = ", ".join(path.name for path in source.files)
    return Stream(name, (source.language, source.language), source.files, read, mono=True)
