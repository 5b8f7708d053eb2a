"""The encoded corpus on disk: token ids as Arrow, memory-mapped and read without a copy."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nmt.errors import DataError
from nmt.runtime.untrusted import open_regular

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.signedinteger[Any]]
"""Numbers of pairs, in 4 bytes each where that suffices."""
Lengths = npt.NDArray[np.integer[Any]]
"""Numbers of tokens, in as few bytes each as suffice."""

BLOCK = 1 << 17
"""Rows of a large corpus that are looked at together."""


def blocks(count: int, size: int | None = None) -> Iterator[slice]:
    """Yields `count` places in parts of at most `size`, or of BLOCK."""
    size = size or BLOCK
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


@dataclass(frozen=True)
class Ragged:
    """Sequences of token ids laid end to end: sequence i is `values[offsets[i]:offsets[i + 1]]`."""

    values: npt.NDArray[np.uint32]
    offsets: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """Number of tokens of each sequence, in 8 bytes each: for small corpora."""
        return np.diff(self.offsets)

    def lengths_of(self, rows: Rows) -> Ints:
        """Returns the number of tokens of the sequences `rows`."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def small_lengths(self) -> Lengths:
        """Returns the number of tokens of each sequence, in the smallest integers that hold one more too."""
        parts = [self.offsets[part.start : part.stop + 1] for part in blocks(len(self))]
        longest = max((int(np.diff(part).max()) for part in parts), default=0)
        lengths: Lengths = np.empty(len(self), np.min_scalar_type(longest + 1))
        for place, part in zip(blocks(len(self)), parts, strict=True):
            lengths[place] = np.diff(part)
        return lengths

    def padded(self, rows: Ints, width: int, before: int, after: int, pad: int) -> Ints:
        """Returns the sequences `rows` as a matrix (rows, width), each between the tokens `before` and `after`.

        A negative `before` or `after` is left out; short rows are filled with `pad`.
        """
        starts, lengths = self.offsets[rows], self.lengths_of(rows)
        shift = int(before >= 0)
        matrix = np.full((len(rows), width), pad, dtype=np.int64)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        row_of = np.repeat(np.arange(len(rows)), lengths)
        matrix[row_of, within + shift] = self.values[np.repeat(starts, lengths) + within]
        if before >= 0:
            matrix[:, 0] = before
        if after >= 0:
            matrix[np.arange(len(rows)), lengths + shift] = after
        return matrix

    def rows(self, first: int, last: int) -> Ragged:
        """Returns the sequences from row `first` to before row `last`."""
        offsets = self.offsets[first : last + 1]
        begin = offsets[0]
        return Ragged(self.values[begin : offsets[-1]], offsets - begin if begin else offsets)

    def taken(self, rows: Rows) -> Ragged:
        """Returns a copy of the sequences `rows`."""
        lengths = self.lengths_of(rows)
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1]) + np.repeat(self.offsets[rows] - (ends - lengths), lengths)
        return Ragged(self.values[places], np.append(0, ends))

    @classmethod
    def joined(cls, parts: Iterable[Ragged]) -> Ragged:
        """Lays the sequences of all parts end to end in memory."""
        builder = _Builder()
        for part in parts:
            builder.add(part)
        return builder.ragged()

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int]]) -> Ragged:
        """Lays sequences end to end in memory."""
        builder = _Builder()
        builder.extend(sequences)
        return builder.ragged()


@dataclass(frozen=True)
class EncodedCorpus:
    """Pairs of token sequences, without special tokens."""

    source: Ragged
    target: Ragged

    def __len__(self) -> int:
        return len(self.source)

    def rows(self, first: int, last: int) -> EncodedCorpus:
        """Returns the pairs from row `first` to before row `last`."""
        return EncodedCorpus(self.source.rows(first, last), self.target.rows(first, last))

    def taken(self, rows: Rows) -> EncodedCorpus:
        """Returns a copy of the pairs `rows`."""
        return EncodedCorpus(self.source.taken(rows), self.target.taken(rows))

    @classmethod
    def joined(cls, parts: Iterable[EncodedCorpus]) -> EncodedCorpus:
        """Lays the pairs of all parts end to end in memory."""
        builders = _Builder(), _Builder()
        for part in parts:
            builders[0].add(part.source)
            builders[1].add(part.target)
        return cls(builders[0].ragged(), builders[1].ragged())


def read_corpus(path: Path) -> EncodedCorpus:
    """Maps an Arrow file into memory.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        open_regular(path).close()
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        batch.validate(full=True)  # offsets beyond the file would read foreign memory
        if batch.schema.types != [pa.large_list(pa.uint32())] * 2:
            raise ValueError("its columns have another type")
        view: Any = np.from_dlpack  # `to_numpy` of Arrow would load pandas
        source, target = (
            Ragged(view(column.values), view(column.offsets))
            for column in (batch.column("source"), batch.column("target"))
        )
    except (OSError, pa.ArrowException, LookupError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not an encoded corpus ({error}); run nmt prepare again") from None
    return EncodedCorpus(source, target)


class _Builder:
    """Collects the sequences of one side."""

    def __init__(self) -> None:
        self.values = array("I")
        self.offsets = array("q", [0])

    def extend(self, sequences: Iterable[Sequence[int]]) -> None:
        for sequence in sequences:
            self.values.extend(sequence)
            self.offsets.append(len(self.values))

    def add(self, part: Ragged) -> None:
        before = self.offsets[-1]
        for place in blocks(len(part)):
            offsets = part.offsets[place.start : place.stop + 1]
            self.values.frombytes(part.values[offsets[0] : offsets[-1]].tobytes())
            self.offsets.frombytes((offsets[1:] - part.offsets[0] + before).astype(np.int64).tobytes())

    def ragged(self) -> Ragged:
        values = np.frombuffer(self.values, dtype=np.uint32) if self.values else np.zeros(0, np.uint32)
        return Ragged(values, np.frombuffer(self.offsets, dtype=np.int64))
