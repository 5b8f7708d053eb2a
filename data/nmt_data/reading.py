"""Pairs of raw lines from parallel files, TSV, JSONL, Parquet, the Hugging Face hub or a generator."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from nmt.errors import DataError
from nmt.text import decode_strict, file_lines
from nmt_data.cards import Card, data_folder
from nmt_data.synthetic.generate import generate

Pair = tuple[str, str]

_PACKED = (".gz", ".xz", ".bz2")


@dataclass
class Unreadable:
    """Count of lines that were left out because they are not UTF-8."""

    lines: int = 0
    skip: bool | None = None
    """Whether they are; None: they never may be, as of a test set."""


@dataclass(frozen=True)
class Split:
    """One split of a corpus, in one direction."""

    card: Card
    name: str
    source: str
    target: str

    @property
    def files(self) -> list[Path]:
        """The local files it is read from; none if it comes from the hub or a generator."""
        pattern = self.card.splits.get(self.name)
        if pattern is None:
            return []
        names = [pattern.replace("{language}", language) for language in (self.source, self.target)]
        paths = [_find(name, self.card) for name in dict.fromkeys(names)]
        return [path for path in paths if path is not None] if all(paths) else []

    def read(self, unreadable: Unreadable) -> Iterator[Pair]:
        """Pairs of lines as they are.

        Raises:
            DataError: nothing to read from, a damaged file, sides of unequal length, or what is no text in UTF-8.
        """
        if self.card.generator:
            return generate(self.card.generator, self.name, reverse=self.source == self.card.languages[1])
        files = self.files
        if len(files) == 2:
            return _read_parallel(files[0], files[1], unreadable)
        if files:
            return self._read_table(files[0], unreadable)
        return self._read_hub()

    def _read_table(self, path: Path, unreadable: Unreadable) -> Iterator[Pair]:
        columns = [self.card.columns.get(language, language) for language in (self.source, self.target)]
        suffixes = [suffix for suffix in map(str.lower, path.suffixes) if suffix not in _PACKED]
        match suffixes[-1] if suffixes else "":
            case ".tsv":
                return _read_tsv(path, columns, unreadable)
            case ".jsonl":
                return _read_jsonl(path, columns, unreadable)
            case ".parquet":
                return _read_parquet(path, columns)
            case suffix:
                raise DataError(
                    f"{path}: unknown kind of table {suffix!r}; use .tsv, .jsonl, .parquet or {{language}} files"
                )

    def _read_hub(self) -> Iterator[Pair]:
        hub, wanted = self.card.hub, self.card.splits.get(self.name)
        place = f"NMT_DATA = {data_folder()}" if data_folder() else "NMT_DATA, which is not set"
        local = (
            f"put {wanted.replace('{language}', 'LANGUAGE')} under {place}"
            if wanted
            else "write a card with your own files"
        )
        if hub is None:
            raise DataError(f"corpus {self.card.name}, split {self.name}: no files found; {local}")
        try:
            import datasets

            configuration = hub.configuration
            for key, language in (("{source}", self.source), ("{target}", self.target)):
                configuration = configuration and configuration.replace(key, language)
            rows: Any = datasets.load_dataset(hub.dataset, configuration, split=hub.splits[self.name])
        except Exception as error:  # noqa: BLE001 - the hub's client fails in many ways, and each means: not from there
            raise DataError(
                f"corpus {self.card.name}, split {self.name}: {hub.dataset} cannot be had from the Hugging Face hub "
                f"({type(error).__name__}); to use local files instead, {local}"
            ) from None
        columns = [hub.columns.get(language, language) for language in (self.source, self.target)]
        return (_cells(row, columns, f"{hub.dataset}, row {number}") for number, row in enumerate(rows, 1))


def _find(name: str, card: Card) -> Path | None:
    """A file beside the user's card, or under NMT_DATA; also compressed."""
    for folder in (card.folder, data_folder()):
        for suffix in ("", *_PACKED):
            path = folder / (name + suffix) if folder else None
            if path and path.is_file():
                return path
    return None


def _read_parallel(source: Path, target: Path, unreadable: Unreadable) -> Iterator[Pair]:
    try:
        for number, pair in enumerate(zip(file_lines(source), file_lines(target), strict=True), 1):
            sides = [
                _decode(side, f"{path}, line {number}", unreadable)
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


def _read_tsv(path: Path, columns: list[str], unreadable: Unreadable) -> Iterator[Pair]:
    """Tab-separated without quoting; columns are numbers from 1, or names in a first line."""
    lines = file_lines(path)
    if all(column.isdigit() for column in columns):
        places, first = [int(column) - 1 for column in columns], 1
        if min(places) < 0:
            raise DataError(f"{path}: there is no column 0; columns of a .tsv are counted from 1")
    else:
        header = decode_strict(next(lines, b""), f"{path}, line 1").split("\t")
        _check_columns(columns, header, path)
        places, first = [header.index(column) for column in columns], 2
    for number, line in enumerate(lines, first):
        text = _decode(line, f"{path}, line {number}", unreadable)
        if text is None:
            unreadable.lines += 1
            continue
        cells = text.split("\t")
        if len(cells) <= max(places):
            raise DataError(f"{path}, line {number}: {len(cells)} columns, column {max(places) + 1} is missing")
        yield cells[places[0]], cells[places[1]]


def _read_jsonl(path: Path, columns: list[str], unreadable: Unreadable) -> Iterator[Pair]:
    for number, line in enumerate(file_lines(path), 1):
        where = f"{path}, line {number}"
        text = _decode(line, where, unreadable)
        if text is None:
            unreadable.lines += 1
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise DataError(f"{where}: not JSON: {error}") from None
        yield _cells(row, columns, where)


def _read_parquet(path: Path, columns: list[str]) -> Iterator[Pair]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    roots = list(dict.fromkeys(column.split(".")[0] for column in columns))
    try:
        with pq.ParquetFile(path) as table:
            _check_columns(roots, table.schema_arrow.names, path)
            rows = (row for batch in table.iter_batches(columns=roots) for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                yield _cells(row, columns, f"{path}, row {number}")
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: {error}") from None


def _check_columns(wanted: Sequence[str], there: Sequence[str], path: Path) -> None:
    if missing := [column for column in wanted if column not in there]:
        raise DataError(f"{path}: no column {missing[0]}; there are {', '.join(there)}")


def _decode(line: bytes, where: str, unreadable: Unreadable) -> str | None:
    """Text of a line, or None where it is to be skipped."""
    try:
        return decode_strict(line, where)
    except DataError as error:
        if unreadable.skip:
            return None
        hint = "" if unreadable.skip is None else ", or set data.on_bad_text = 'skip' to leave such lines out"
        raise DataError(f"{error}{hint}") from None


def _cells(row: Any, columns: Sequence[str], where: str) -> Pair:
    """The text of two columns of a row."""
    return _cell(row, columns[0], where), _cell(row, columns[1], where)


def _cell(row: Any, column: str, where: str) -> str:
    """The text of a column; a dot goes into a nested one. What is null is empty, and cleaning counts it as that."""
    value = row
    for key in column.split("."):
        if value is None:
            break
        if not isinstance(value, dict) or key not in value:
            names = f"; there are {', '.join(row)}" if isinstance(row, dict) else ""
            raise DataError(f"{where}: no column {column}{names}")
        value = cast(dict[str, Any], value)[key]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{where}: column {column} holds {json.dumps(value, default=str)[:60]}, which is no text")
    return value
