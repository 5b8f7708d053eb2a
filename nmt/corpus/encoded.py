"""The encoded corpus on disk: token ids as Arrow, memory-mapped and read without a copy."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nmt.errors import DataError
from nmt.runtime.untrusted import open_regular

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ragged:
    """Sequences of token ids laid end to end: sequence i is `values[offsets[i]:offsets[i + 1]]`."""

    values: npt.NDArray[np.uint32]
    offsets: Ints

    @property
    def lengths(self) -> Ints:
        """Number of tokens of each sequence."""
        return np.diff(self.offsets)

    def padded(self, rows: Ints, width: int, before: int, after: int, pad: int) -> Ints:
        """Returns the sequences `rows` as a matrix (rows, width), each between the tokens `before` and `after`.

        A negative `before` or `after` is left out; short rows are filled with `pad`.
        """
        starts, lengths = self.offsets[rows], self.lengths[rows]
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
        return Ragged(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def joined(self, other: Ragged) -> Ragged:
        """Returns these sequences, then those of another."""
        values = np.concatenate([self.values, other.values])
        return Ragged(values, np.concatenate([self.offsets, self.offsets[-1] + other.offsets[1:]]))

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
        return len(self.source.offsets) - 1

    def rows(self, first: int, last: int) -> EncodedCorpus:
        """Returns the pairs from row `first` to before row `last`."""
        return EncodedCorpus(self.source.rows(first, last), self.target.rows(first, last))

    def joined(self, other: EncodedCorpus) -> EncodedCorpus:
        """Returns these pairs, then those of another."""
        return EncodedCorpus(self.source.joined(other.source), self.target.joined(other.target))


def write_corpus(path: Path, chunks: Iterable[tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]]) -> None:
    """Writes chunks of (source ids, target ids) as one Arrow record batch, so that reading joins nothing."""
    builders = (_Builder(), _Builder())
    for sides in chunks:
        for builder, sequences in zip(builders, sides, strict=True):
            builder.extend(sequences)
    columns = [builder.column() for builder in builders]
    table = pa.record_batch(columns, names=["source", "target"])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_batch(table)


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
        source, target = (
            Ragged(column.values.to_numpy(zero_copy_only=True), column.offsets.to_numpy(zero_copy_only=True))
            for column in (batch.column("source"), batch.column("target"))
        )
    except (OSError, pa.ArrowInvalid, LookupError, ValueError, AttributeError) as error:
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

    def ragged(self) -> Ragged:
        values = np.frombuffer(self.values, dtype=np.uint32) if self.values else np.zeros(0, np.uint32)
        return Ragged(values, np.frombuffer(self.offsets, dtype=np.int64))

    def column(self) -> Any:
        ragged = self.ragged()
        return pa.LargeListArray.from_arrays(pa.array(ragged.offsets), pa.array(ragged.values))
