"""Rows of tables with separated cells: plain, or quoted as spreadsheets and data frames do."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from nmt.corpus.lines import file_lines
from nmt.errors import DataError

if TYPE_CHECKING:
    from _csv import Reader as CsvReader

_CELL = rb'(?:"[^"]*(?:""[^"]*)*"|[^"\t]*)'
_CELLS = re.compile(rb"(?:\A|(?<=\t))%s(?=\t|\Z)" % _CELL)
_ROW = re.compile(rb"%s(?:\t%s)*" % (_CELL, _CELL))
_BEGINNING = re.compile(rb'(?:%s\t)*"[^"]*(?:""[^"]*)*' % _CELL)
_LINES = 100  # most lines of one row
_SEPARATORS = ",;\t"
_NAMED = re.compile(r'"?sep=(.)"?\n')  # the first line of some spreadsheets
_SAMPLE = 200  # lines that tell the separator
_LONGEST_CELL = 2**24  # characters; an open quote ends there, and does not read a file of any size into memory
Row = tuple[int, list[bytes]]


def plain_rows(path: Path) -> Iterator[Row]:
    """Yields the number and cells of each line; quotes are ordinary characters."""
    for number, line in enumerate(file_lines(path), 1):
        yield number, line.split(b"\t")


def quoted_rows(path: Path) -> Iterator[Row]:
    """Yields the first line number and the cells of each row, without the quotes around them."""
    for number, row in _joined(path):
        yield number, [_unquoted(cell) for cell in _cells(row)]


def is_quoted(path: Path, named: bool) -> bool:
    """Whether every quote of a table is a spreadsheet's, and at least one cannot belong to the text.

    A quote cannot belong to the text if it is doubled, or surrounds a tab, a line break or a column name. Nor can it if all
    cells are quoted, or exactly those with a comma. `named` says whether the first row holds column names.
    """
    certain = quoted = False
    everywhere = by_comma = True
    for number, row in _joined(path):
        if b'"' in row and not _ROW.fullmatch(row):
            return False
        for cell in _cells(row) if row else ():
            inside = cell[1:-1] if cell.startswith(b'"') else None
            header = named and number == 1
            everywhere &= header or inside is not None or cell.isdigit()
            by_comma &= (b"," in cell) == (inside is not None)
            quoted |= inside is not None and not header
            certain |= inside is not None and (header or re.search(rb'""|[\t\n]', inside) is not None)
    return certain or (quoted and (everywhere or by_comma))


def separated_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yields the first line number and the cells of each row of a comma-separated file (RFC 4180).

    The separator may also be a semicolon or a tab: the one that gives the wanted columns, and most rows the same length.

    Raises:
        DataError: a quote is not closed, or not doubled within quotes; or a cell has more than sixteen million characters.
    """
    sample = list(islice(_text_lines(path), _SAMPLE))
    named = _NAMED.fullmatch(sample[0]) if sample else None
    separator = named[1] if named else max(_SEPARATORS, key=lambda mark: _fitness(sample, mark, columns))
    skipped = 1 if named else 0
    rows = _reader(islice(_text_lines(path), skipped, None), separator, strict=True)
    number = first = skipped + 1
    try:
        for cells in rows:
            yield first, [cell.encode("utf-8", "surrogateescape") for cell in cells] or [b""]
            first = number + rows.line_num
    except csv.Error as error:
        raise DataError(
            f"{path}, line {first}: no row of a .csv ({error}); quotes have to be closed, and doubled within quotes"
        ) from None


def _fitness(lines: Sequence[str], separator: str, columns: Sequence[str]) -> tuple[bool, int]:
    """Returns whether the first row has the columns, and how many rows have as many cells as it; 0 for single cells."""
    try:
        rows = [row for row in _reader(lines, separator, strict=False) if row]
    except csv.Error:
        return False, 0
    width = len(rows[0]) if rows else 0
    return bool(rows) and set(columns) <= set(rows[0]), sum(len(row) == width > 1 for row in rows)


def _reader(lines: Iterable[str], separator: str, strict: bool) -> CsvReader:
    csv.field_size_limit(_LONGEST_CELL)  # of all readers; the module's own limit is 131,072
    return csv.reader(lines, delimiter=separator, strict=strict)


def _text_lines(path: Path) -> Iterator[str]:
    r"""Yields lines as text, in which bytes that are not UTF-8 are kept as half characters.

    A `\r` within a line becomes another control character: no row ends there, and cleaning treats both alike.
    """
    return (line.decode("utf-8", "surrogateescape").replace("\r", "\v") + "\n" for line in file_lines(path))


def _joined(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields rows with the number of their first line; a row that ends within quotes continues in the next line."""
    first, held = 1, list[bytes]()
    for number, line in enumerate(file_lines(path), 1):
        held.append(line)
        row = b"\n".join(held)
        if b'"' in row and len(held) < _LINES and not _ROW.fullmatch(row) and _BEGINNING.fullmatch(row):
            continue
        yield first, row
        first, held = number + 1, []
    if held:
        yield first, b"\n".join(held)


def _cells(row: bytes) -> list[bytes]:
    return _CELLS.findall(row) if b'"' in row else row.split(b"\t")


def _unquoted(cell: bytes) -> bytes:
    return cell[1:-1].replace(b'""', b'"') if cell.startswith(b'"') else cell
