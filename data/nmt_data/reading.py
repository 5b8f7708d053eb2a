"""Reads pairs of raw lines from parallel files, TSV, JSONL, Parquet, the Hugging Face hub or a generator."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from nmt.config.paths import PACKED
from nmt.corpus.lines import decode_strict, file_lines
from nmt.errors import DataError
from nmt_data.cards import CorpusCard, data_folder
from nmt_data.synthetic.generate import generate
from nmt_data.tables import is_quoted, plain_rows, quoted_rows

Pair = tuple[str, str]


@dataclass
class Unreadable:
    """Counts lines that give no pair: invalid text, and blank lines between the rows of a table."""

    lines: int = 0
    """Lines left out because they are not UTF-8."""
    skip: bool | None = None
    """Whether invalid lines are skipped; None: they are always errors, as in test sets."""
    blank: int = 0

    def counts(self) -> dict[str, int]:
        """Returns the number of lines of each kind, if any."""
        kinds = {"not UTF-8": self.lines, "blank line of a table": self.blank}
        return {kind: count for kind, count in kinds.items() if count}


@dataclass(frozen=True)
class Split:
    """One split of a corpus, in one direction."""

    card: CorpusCard
    name: str
    source: str
    target: str

    @property
    def files(self) -> list[Path]:
        """The local files to read; none if the split comes from the hub or a generator."""
        pattern = self.card.splits.get(self.name)
        if pattern is None:
            return []
        names = [pattern.replace("{language}", language) for language in (self.source, self.target)]
        paths = [find_file(name, self.card) for name in dict.fromkeys(names)]
        return [path for path in paths if path is not None] if all(paths) else []

    def read(self, unreadable: Unreadable) -> Iterator[Pair]:
        """Yields pairs of unchanged lines.

        Raises:
            DataError: there is nothing to read, a file is damaged or not UTF-8, or the sides differ in length.
        """
        if self.card.generator:
            return generate(self.card.generator, self.name, reverse=self.source == self.card.languages[1])
        files = self.files
        if len(files) == 2:
            return _read_parallel(files[0], files[1], unreadable)
        if files:
            return self._read_table(files[0], unreadable)
        return self._read_hub(unreadable)

    def _read_table(self, path: Path, unreadable: Unreadable) -> Iterator[Pair]:
        columns = [self.card.columns.get(language, language) for language in (self.source, self.target)]
        suffixes = [suffix for suffix in map(str.lower, path.suffixes) if suffix not in PACKED]
        match suffixes[-1] if suffixes else "":
            case ".tsv":
                return _read_tsv(path, columns, unreadable)
            case ".jsonl":
                return _read_jsonl(path, columns, unreadable)
            case ".parquet":
                return _read_parquet(path, columns, unreadable)
            case suffix:
                raise DataError(
                    f"{path}: unknown kind of table {suffix!r}; use .tsv, .jsonl, .parquet or {{language}} files"
                )

    def _read_hub(self, unreadable: Unreadable) -> Iterator[Pair]:
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
        places = ((row, f"{hub.dataset}, row {number}") for number, row in enumerate(rows, 1))
        return _texts(places, columns, unreadable)


def find_file(name: str, card: CorpusCard) -> Path | None:
    """Finds a file beside the user's card or under NMT_DATA, compressed or not; an absolute path wherever it is."""
    for folder in (Path(),) if Path(name).is_absolute() else (card.folder, data_folder()):
        for suffix in ("", *PACKED):
            path = folder / (name + suffix) if folder else None
            if path and path.is_file():
                return path
    return None


def read_text(path: Path, unreadable: Unreadable) -> Iterator[str]:
    """Yields the unchanged lines of a text file.

    Raises:
        DataError: the file is damaged, or a line is not UTF-8.
    """
    for number, line in enumerate(file_lines(path), 1):
        text = _decode(line, f"{path}, line {number}", unreadable)
        if text is None:
            unreadable.lines += 1
        else:
            yield text


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
    """Yields pairs of a tab-separated file, quoted or plain; columns are numbers from 1, or names."""
    named = not all(column.isdecimal() for column in columns)
    rows = quoted_rows(path) if is_quoted(path, named) else plain_rows(path)
    if not named:
        places = [int(column) - 1 for column in columns]
        if min(places) < 0:
            raise DataError(f"{path}: there is no column 0; columns of a .tsv are counted from 1")
    else:
        _, cells = next(rows, (1, []))
        header = [decode_strict(cell, f"{path}, line 1") for cell in cells]
        _check_columns(columns, header, path)
        places = [header.index(column) for column in columns]
    for number, cells in rows:
        where = f"{path}, line {number}"
        if len(cells) == 1 and not cells[0].strip():
            unreadable.blank += 1
            continue
        if len(cells) <= max(places):
            raise DataError(f"{where}: {len(cells)} columns, column {max(places) + 1} is missing")
        if _decode(b"\t".join(cells), where, unreadable) is None:
            unreadable.lines += 1
        else:
            yield cells[places[0]].decode("utf-8"), cells[places[1]].decode("utf-8")


def _read_jsonl(path: Path, columns: list[str], unreadable: Unreadable) -> Iterator[Pair]:
    return _texts(_json_rows(path, unreadable), columns, unreadable)


def _json_rows(path: Path, unreadable: Unreadable) -> Iterator[tuple[Any, str]]:
    """Yields the value of each line, and its place."""
    for number, line in enumerate(file_lines(path), 1):
        where = f"{path}, line {number}"
        text = _decode(line, where, unreadable)
        if text is None:
            unreadable.lines += 1
        elif not text.strip():
            unreadable.blank += 1
        else:
            try:
                yield json.loads(text), where
            except (ValueError, RecursionError) as error:
                raise DataError(f"{where}: not JSON: {error}") from None


def _read_parquet(path: Path, columns: list[str], unreadable: Unreadable) -> Iterator[Pair]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    roots = list(dict.fromkeys(column.split(".")[0] for column in columns))
    try:
        with pq.ParquetFile(path) as table:
            _check_columns(roots, table.schema_arrow.names, path)
            rows = (row for batch in table.iter_batches(columns=roots) for row in batch.to_pylist())
            yield from _texts(
                ((row, f"{path}, row {number}") for number, row in enumerate(rows, 1)), columns, unreadable
            )
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}") from None


def _texts(rows: Iterable[tuple[Any, str]], columns: Sequence[str], unreadable: Unreadable) -> Iterator[Pair]:
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
                f"{where}: column {halves[0]} holds half of a surrogate pair, which is no text; mend it{_hint(unreadable)}"
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
        raise DataError(f"{path}: no column {missing[0]}; there are {', '.join(there)}")


def _decode(line: bytes, where: str, unreadable: Unreadable) -> str | None:
    """Decodes a line; None: it is to be skipped."""
    try:
        return decode_strict(line, where)
    except DataError as error:
        if unreadable.skip:
            return None
        raise DataError(f"{error}{_hint(unreadable)}") from None


def _hint(unreadable: Unreadable) -> str:
    return "" if unreadable.skip is None else ", or set data.on_bad_text = 'skip' to leave such lines out"


def _cell(row: Any, column: str, where: str) -> str:
    """Returns the text of a column; a dot leads into a nested one. Null becomes empty, which cleaning counts."""
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
