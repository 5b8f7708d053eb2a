"""Reads tables: tab-separated, comma-separated, JSON lines and Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from nmt.corpus.lines import decode_strict, file_lines, visible_line
from nmt.errors import DataError
from nmt_data.reading.delimited import Row, is_quoted, plain_rows, quoted_rows, separated_rows
from nmt_data.reading.pairs import Direction, Pair, Unreadable


def read_tsv(path: Path, direction: Direction, unreadable: Unreadable) -> Iterator[Pair]:
    """Yields pairs of a tab-separated file, quoted or plain; columns are numbers from 1, or names."""
    named = not _are_numbers(direction.names)
    rows = quoted_rows(path) if is_quoted(path, named) else plain_rows(path)
    remedy = "replace tabs within text" if named else ""  # without a header, any row may end in a note
    return _cells(path, rows, direction.names, unreadable, remedy)


def read_csv(path: Path, direction: Direction, unreadable: Unreadable) -> Iterator[Pair]:
    """Yields pairs of a file with cells separated by commas, semicolons or tabs; columns as in `read_tsv`."""
    rows = separated_rows(path, direction.names)
    return _cells(path, rows, direction.names, unreadable, "put quotes around text with separators")


def _are_numbers(columns: Sequence[str]) -> bool:
    return all(column.isdecimal() for column in columns)


def _cells(path: Path, rows: Iterator[Row], columns: list[str], unreadable: Unreadable, remedy: str) -> Iterator[Pair]:
    """Yields the cells of two columns; with a remedy, rows of more cells than the header or the first row are refused."""
    width, first = 0, "first row"
    if _are_numbers(columns):
        places = [int(column) - 1 for column in columns]
        if min(places) < 0:
            raise DataError(f"{path}: there is no column 0; columns of a {path.suffix} are counted from 1")
    else:
        _, cells = next(rows, (1, []))
        header = [decode_strict(cell, f"{path}, line 1") for cell in cells]
        _check_columns(columns, header, path)
        places = [header.index(column) for column in columns]
        width, first = len(header), "header"
    for number, cells in rows:
        where = f"{path}, line {number}"
        if len(cells) == 1 and not cells[0].strip():
            unreadable.blank += 1
            continue
        if len(cells) <= max(places):
            raise DataError(f"{where}: {len(cells)} columns, column {max(places) + 1} is missing")
        width = width or len(cells)
        if remedy and any(cell.strip() for cell in cells[width:]):
            raise DataError(f"{where}: {len(cells)} cells, and the {first} has {width}; {remedy}")
        if unreadable.decode(b"\t".join(cells), where) is None:
            unreadable.lines += 1
        else:
            yield cells[places[0]].decode("utf-8"), cells[places[1]].decode("utf-8")


def read_jsonl(path: Path, direction: Direction, unreadable: Unreadable) -> Iterator[Pair]:
    """Yields pairs of a file with one JSON object a line; a dot in a column that is not there leads into a nested one."""
    return texts(json_rows(path, unreadable), direction.names, unreadable)


def json_rows(path: Path, unreadable: Unreadable) -> Iterator[tuple[Any, str]]:
    """Yields the value of each line, and its place."""
    for number, line in enumerate(file_lines(path), 1):
        where = f"{path}, line {number}"
        text = unreadable.decode(line, where)
        if text is None:
            unreadable.lines += 1
        elif not text.strip():
            unreadable.blank += 1
        else:
            try:
                yield json.loads(text), where
            except (ValueError, RecursionError) as error:
                raise DataError(f"{where}: not JSON: {error}") from None


def read_parquet(path: Path, direction: Direction, unreadable: Unreadable) -> Iterator[Pair]:
    """Yields pairs of a Parquet file; columns as in `read_jsonl`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() != ".parquet" or not path.is_file():
        raise DataError(f"{path}: a Parquet file is packed by itself; unpack it first")
    columns = direction.names
    try:
        with pq.ParquetFile(path) as table:
            there = table.schema_arrow.names
            roots = list(dict.fromkeys(column if column in there else column.split(".")[0] for column in columns))
            _check_columns(roots, there, path)
            rows = (row for batch in table.iter_batches(columns=roots) for row in batch.to_pylist())
            yield from texts(
                ((row, f"{path}, row {number}") for number, row in enumerate(rows, 1)), columns, unreadable
            )
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from None


def texts(rows: Iterable[tuple[Any, str]], columns: Sequence[str], unreadable: Unreadable) -> Iterator[Pair]:
    """Yields the text of two columns of each row; rows come with their places."""
    for row, where in rows:
        pair = _cell(row, columns[0], where), _cell(row, columns[1], where)
        halves = [column for column, text in zip(columns, pair, strict=True) if not _can_be_written(text)]
        if not halves:
            yield pair
        elif unreadable.skip:
            unreadable.lines += 1
        else:
            raise DataError(
                f"{where}: column {halves[0]} holds half of a surrogate pair, which is no text; mend it{unreadable.hint}"
            )


def _can_be_written(text: str) -> bool:
    """Whether a text contains no half of a surrogate pair, which JSON can contain."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _check_columns(wanted: Sequence[str], there: Sequence[str], path: Path) -> None:
    if missing := [column for column in wanted if column not in there]:
        raise DataError(f"{path}: no column {missing[0]}; there are {visible_line(', '.join(there))}")


def _cell(row: Any, column: str, where: str) -> str:
    """Returns the text of a column; a dot leads into a nested one. Null becomes empty, which cleaning counts."""
    value = row
    for key in [column] if isinstance(row, dict) and column in row else column.split("."):
        if value is None:
            break
        if not isinstance(value, dict) or key not in value:
            names = f"; there are {visible_line(', '.join(row))}" if isinstance(row, dict) else ""
            raise DataError(f"{where}: no column {column}{names}")
        value = cast(dict[str, Any], value)[key]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{where}: column {column} holds {json.dumps(value, default=str)[:60]}, which is no text")
    return value
