"""Reads two files side by side, line n of one the translation of line n of the other; and one file alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from nmt.corpus.lines import file_lines
from nmt.errors import DataError
from nmt_data.reading.pairs import Pair, Unreadable


def read_text(path: Path, unreadable: Unreadable) -> Iterator[str]:
    """Yields the unchanged lines of a text file.

    Raises:
        DataError: the file is damaged, or a line is not UTF-8.
    """
    for number, line in enumerate(file_lines(path), 1):
        text = unreadable.decode(line, f"{path}, line {number}")
        if text is None:
            unreadable.lines += 1
        else:
            yield text


def read_parallel(source: Path, target: Path, unreadable: Unreadable) -> Iterator[Pair]:
    """Yields pairs of unchanged lines of two text files.

    Raises:
        DataError: a file is damaged, a line is not UTF-8, or one file has more lines.
    """
    try:
        for number, pair in enumerate(zip(file_lines(source), file_lines(target), strict=True), 1):
            sides = [
                unreadable.decode(side, f"{path}, line {number}")
                for side, path in zip(pair, (source, target), strict=True)
            ]
            if None in sides:
                unreadable.lines += 1
            else:
                yield cast(Pair, tuple(sides))
    except ValueError:
        raise DataError(_unequal(source, target)) from None


def _unequal(source: Path, target: Path) -> str:
    counts = [sum(1 for _ in file_lines(path)) for path in (source, target)]
    return f"{source} has {counts[0]} lines but {target} has {counts[1]}; the last line of both is {min(counts)}"
