"""Writes an encoded corpus piece by piece, in memory that does not grow with it."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from nmt.corpus.encoded import Ragged

_SLICE = 1 << 24  # bytes copied at a time


class CorpusWriter:
    """Appends pairs of token sequences; tokens and offsets wait in files of their own, since Arrow wants each in one piece."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        """Opens those files beside `path` until the stack is closed."""
        self._columns = [_Column(path.with_name(f"{path.name}.{side}"), stack) for side in ("source", "target")]
        self._path = path

    def append(self, source: Ragged, target: Ragged) -> None:
        """Appends as many sequences on both sides."""
        for column, ragged in zip(self._columns, (source, target), strict=True):
            column.append(ragged)

    def finish(self) -> None:
        """Writes the Arrow file, as one record batch, so that reading joins nothing, and removes the others."""
        maps: list[mmap.mmap] = []
        batch = pa.record_batch([column.array(maps) for column in self._columns], names=["source", "target"])
        with (
            self._path.open("wb") as file,
            pa.PythonFile(_Frugal(file, maps), mode="w") as sink,
            pa.ipc.new_file(sink, batch.schema) as writer,
        ):
            writer.write_batch(batch)
        for column in self._columns:
            column.remove()

    def update(self, digest: Any) -> None:
        """Adds the tokens and the offsets of both sides to a hash."""
        for column in self._columns:
            column.update(digest)


class _Column:
    """The sequences of one side, on their way to the file."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._paths = path.with_suffix(f"{path.suffix}.values"), path.with_suffix(f"{path.suffix}.offsets")
        self._values, self._offsets = (stack.enter_context(place.open("w+b")) for place in self._paths)
        self._end = 0
        self._rows = 0
        self._offsets.write(np.zeros(1, np.int64).tobytes())

    def append(self, ragged: Ragged) -> None:
        self._values.write(np.ascontiguousarray(ragged.values).data)
        self._offsets.write((ragged.offsets[1:] + self._end).data)
        self._end += len(ragged.values)
        self._rows += len(ragged.offsets) - 1

    def update(self, digest: Any) -> None:
        for stream in (self._values, self._offsets):
            for piece in _pieces(stream):
                digest.update(piece)

    def array(self, maps: list[mmap.mmap]) -> Any:
        """Returns the column, mapped into memory."""
        buffers = [_mapped(stream, maps) for stream in (self._values, self._offsets)]
        values = pa.Array.from_buffers(pa.uint32(), self._end, [None, buffers[0]])
        return pa.Array.from_buffers(pa.large_list(pa.uint32()), self._rows, [None, buffers[1]], children=[values])

    def remove(self) -> None:
        for path in self._paths:
            path.unlink()


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    stream.flush()
    stream.seek(0)
    while piece := stream.read(_SLICE):
        yield piece


def _mapped(stream: BinaryIO, maps: list[mmap.mmap]) -> Any:
    stream.flush()
    if not stream.seek(0, 2):
        return pa.py_buffer(b"")
    maps.append(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    return pa.py_buffer(maps[-1])


class _Frugal:
    """A file that Arrow writes to; what was copied from the maps leaves the memory."""

    closed = False

    def __init__(self, stream: BinaryIO, maps: list[mmap.mmap]) -> None:
        self._stream, self._maps = stream, maps

    def write(self, data: Any) -> int:
        view = memoryview(data)
        for start in range(0, len(view), _SLICE):
            self._stream.write(view[start : start + _SLICE])
            for each in self._maps if len(view) >= _SLICE else ():
                each.madvise(mmap.MADV_DONTNEED)
        return len(view)

    def tell(self) -> int:
        return self._stream.tell()

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        pass
