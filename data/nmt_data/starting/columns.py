"""Finds the two columns of a table that are a text and its translation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from nmt.config.section import dotted
from nmt.corpus.lines import decode_replacing
from nmt.errors import DataError
from nmt_data.reading.delimited import is_quoted, plain_rows, quoted_rows, separated_rows
from nmt_data.reading.files import kind_of
from nmt_data.reading.tables import json_rows
from nmt_data.starting.languages import guessed_language, language_within, unknown_languages

_ROWS = 200  # rows that tell what a column is
_FEW = 8  # values that show whether they repeat
_USUAL = """id nr no number source src target tgt text sentence translation score segment comment note notes quelle ziel
satz übersetzung wert original url date licence license domain hypothesis reference"""
_HEADS = frozenset(_USUAL.split())  # names of columns


@dataclass(frozen=True)
class Column:
    """A column of a table that holds text: what the card calls it, and its language, if that is known."""

    name: str
    language: str | None
    values: list[str]


@dataclass(frozen=True)
class Table:
    """The columns of text of a table, in their order."""

    columns: list[Column]
    headed: bool
    """Whether the first row names the columns."""


def read_table(path: Path, wanted: Sequence[str] = ()) -> Table:
    """Reads the first rows of a table, and says which of its columns are text; their names may tell a wanted language.

    Raises:
        DataError: the file is damaged, or empty.
    """
    kind = kind_of(path)
    if kind in (".jsonl", ".ndjson", ".parquet"):
        rows = [dict(dotted(row)) for row in islice(_json(path) if kind != ".parquet" else _parquet(path), _ROWS)]
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = {name: [row.get(name) for row in rows] for name in names}
        headed = True
    else:
        cells = [row for row in islice(_separated(path, kind), _ROWS) if len(row) > 1]
        headed = bool(cells) and _is_head(cells, wanted)
        width = min((len(row) for row in cells), default=0)
        names = cells[0][:width] if headed else [str(place + 1) for place in range(width)]
        columns = {name: [row[place] for row in cells[headed:]] for place, name in enumerate(names)}
    texts = {name: [value for value in values if isinstance(value, str) and value] for name, values in columns.items()}
    found = [
        Column(name, language_within(name, wanted), text)
        for name, text in texts.items()
        if _is_text(text, columns[name])
    ]
    return Table(found, headed)


def choose_columns(path: Path, table: Table, source: str | None, target: str | None) -> tuple[Column, Column]:
    """Returns the columns of source and target, each with its language.

    Args:
        path: the file, for errors.
        table: its columns.
        source: the language wanted as the source; None: that of the first column of the two.
        target: the language wanted as the target.

    Raises:
        DataError: there are not two columns of text, or their languages cannot be told.
    """
    columns = table.columns
    if len(columns) < 2:
        there = ", ".join(column.name for column in columns) or "none"
        raise DataError(f"{path}: two columns of text are needed, a text and its translation; there are: {there}")
    wanted = [language for language in (source, target) if language]
    known = [_told(column, wanted) for column in columns]
    first: dict[str, Column] = {}
    for column in known:
        first.setdefault(column.language or f"?{column.name}", column)
    if len(wanted) == 2 and not all(language in first for language in wanted) and len(columns) == 2:
        first = dict(zip(wanted, columns, strict=True))  # nothing speaks against what the person says
    rest = [language for language in first if language not in wanted]
    languages = [source or (rest.pop(0) if rest else "?"), target or (rest.pop(0) if rest else "?")]
    if missing := [language for language in languages if language not in first or language.startswith("?")]:
        if missing[0].startswith("?"):
            raise unknown_languages(f"{path}, columns {', '.join(column.name for column in columns)}")
        raise DataError(f"{path}: no column in {missing[0]}; there are {_described(known)}")
    if len(wanted) < 2 and rest:
        raise DataError(f"{path}: holds {_described(known)}; say which, as in --source de --target en")
    one, other = (Column(first[language].name, language, first[language].values) for language in languages)
    return one, other


def _told(column: Column, wanted: Sequence[str]) -> Column:
    """Returns a column with its language told by its text where its name does not."""
    among = wanted if len(wanted) == 2 else ()
    return column if column.language else Column(column.name, guessed_language(column.values, among), column.values)


def _described(columns: Sequence[Column]) -> str:
    return ", ".join(f"{column.name} ({column.language or 'of no known language'})" for column in columns)


def _separated(path: Path, kind: str) -> Iterator[list[str]]:
    if kind == ".csv":
        rows = separated_rows(path, ())
    else:
        rows = quoted_rows(path) if is_quoted(path, named=True) or is_quoted(path, named=False) else plain_rows(path)
    return ([decode_replacing(cell)[0] for cell in cells] for _, cells in rows)


def _json(path: Path) -> Iterator[Any]:
    from nmt_data.reading import Unreadable

    return (row for row, _ in json_rows(path, Unreadable()))


def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            yield from next(table.iter_batches(batch_size=_ROWS)).to_pylist()
    except (OSError, pa.ArrowException, StopIteration) as error:
        raise DataError(f"{path}: {' '.join(str(error).split()) or 'holds no rows'}") from None


def _is_head(rows: Sequence[Sequence[str]], wanted: Sequence[str]) -> bool:
    """Whether the first row names the columns: one of its cells is such a name, or stands above figures."""
    first, others = rows[0], rows[1:]
    if any(language_within(cell, wanted) or cell.strip().lower() in _HEADS for cell in first):
        return True
    columns = (
        zip(first, *(row[: len(first)] for row in others if len(row) >= len(first)), strict=True) if others else ()
    )
    return any(not _is_figure(head) and all(map(_is_figure, below)) for head, *below in columns)


def _is_text(texts: Sequence[str], values: Sequence[Any]) -> bool:
    """Whether a column holds sentences, rather than figures, addresses, dates or one of a few labels."""
    there = [value for value in values if value not in (None, "")]
    letters = [text for text in texts if re.search(r"[^\W\d_]{2}|[\u3040-\u9fff]", text) and "://" not in text]
    return bool(there) and len(letters) * 10 >= len(there) * 7 and not _repeats(texts)


def _repeats(texts: Sequence[str]) -> bool:
    """Whether most values share most words with the one before, as labels and names of licences do."""
    words = [set(re.findall(r"\w+", text)) for text in texts]
    similar = [2 * len(one & two) > len(one | two) for one, two in pairwise(words)]
    return len(texts) >= _FEW and 2 * sum(similar) > len(similar)


def _is_figure(text: str) -> bool:
    return re.fullmatch(r"\s*[-+]?[\d.,:/ -]*\d[\d.,%]*\s*", text) is not None
