"""Rows of tab-separated files: as they stand, or quoted as spreadsheets and data frames write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nmt.corpus.lines import file_lines

_CELL = rb'(?:"[^"]*(?:""[^"]*)*"|[^"\t]*)'
_CELLS = re.compile(rb"(?:\A|(?<=\t))%s(?=\t|\Z)" % _CELL)
_ROW = re.compile(rb"%s(?:\t%s)*" % (_CELL, _CELL))
_BEGINNING = re.compile(rb'(?:%s\t)*"[^"]*(?:""[^"]*)*' % _CELL)
_LINES = 100  # that one row may take
Row = tuple[int, list[bytes]]


def plain_rows(path: Path) -> Iterator[Row]:
    """The number of each line and its cells, in which a quote is a character as others are."""
    for number, line in enumerate(file_lines(path), 1):
        yield number, line.split(b"\t")


def quoted_rows(path: Path) -> Iterator[Row]:
    """The number of the first line of each row and its cells, without the quotes around them."""
    for number, row in _joined(path):
        yield number, [_unquoted(cell) for cell in _cells(row)]


def is_quoted(path: Path, named: bool) -> bool:
    """Whether each quote of a table is a spreadsheet's, and one at least cannot be the text's.

    It cannot where it is doubled, stands around a tab, a line break, the name of a column or all cells, or where the cells
    with a comma are those in quotes. `named` says whether the first row holds the names of the columns.
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


def _joined(path: Path) -> Iterator[tuple[int, bytes]]:
    """Rows with the number of their first line; one that ends within quotes goes on in the next line."""
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
