"""Lines of text that are read or made when they are asked for."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from nmt.corpus.encoded import blocks
from nmt.corpus.lines import clean_line, decode_strict
from nmt.errors import DataError

_BOM = b"\xef\xbb\xbf"
_LINE_FEED = 10
_BYTES = 1 << 24  # looked at together


class LazyLines(Sequence[str]):
    """A sequence of lines, each made by a function of its row; so is any part of the sequence."""

    def __init__(self, line: Callable[[int], str], rows: range) -> None:
        self._line, self._rows = line, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> LazyLines: ...
    def __getitem__(self, index: int | slice) -> str | LazyLines:
        if isinstance(index, slice):
            return LazyLines(self._line, self._rows[index])
        return self._line(self._rows[index])


def mapped_lines(path: Path) -> LazyLines:
    """Returns what `nmt.corpus.lines.read_lines` reads of a plain file, which is mapped: 8 bytes a line are in memory.

    Raises:
        DataError: the file is missing or, when a line is asked for, not UTF-8.
    """
    try:
        size = path.stat().st_size
        content = np.memmap(path, np.uint8, "r") if size else np.zeros(0, np.uint8)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    ends = array("q")
    for part in blocks(size, _BYTES):
        ends.frombytes((np.flatnonzero(content[part] == _LINE_FEED) + part.start).tobytes())
    if size and content[-1] != _LINE_FEED:
        ends.append(size)

    def line(row: int) -> str:
        found = content[ends[row - 1] + 1 if row else 0 : ends[row]].tobytes().removesuffix(b"\r")
        found = found if row else found.removeprefix(_BOM)
        return clean_line(decode_strict(found, f"{path}, line {row + 1}"))

    return LazyLines(line, range(len(ends)))
