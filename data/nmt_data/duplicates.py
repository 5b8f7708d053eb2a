"""Finds repeated pairs among shards of any number; DuckDB does it, within a limit of memory, and spills to disk."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from nmt.errors import DataError
from nmt.runtime.stages import counted, stage
from nmt_data.shards import SHARDS, Mask, row_numbers

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def repeated_rows(folder: Path, rows: Sequence[int], memory: int) -> Iterator[Mask]:
    """Yields for each shard which of its rows have the key of an earlier row.

    Args:
        folder: holds the shards; what is spilled lies there meanwhile.
        rows: number of rows of each shard.
        memory: most memory to use, in bytes.
    """
    with stage("looking for repeated pairs", sum(rows), "pairs"):
        yield from _rows(folder, rows, memory, ["first_half, second_half"])


def near_rows(folder: Path, rows: Sequence[int], memory: int, bands: int) -> Iterator[Mask]:
    """Yields for each shard which of its rows share a band with an earlier row; see `nmt_data.cleaning.minhash`.

    The earlier row counts even if it shares a band with one that is earlier still: of a chain only the first link is left.
    """
    numbers = counted(range(bands), "looking for near-duplicates", bands, "bands")
    yield from _rows(folder, rows, memory, (f"band_{number}" for number in numbers))


def _rows(folder: Path, rows: Sequence[int], memory: int, keys: Iterable[str]) -> Iterator[Mask]:
    """Yields for each shard which of its rows have the same key as an earlier row, for one of the keys."""
    if not sum(rows):
        return
    # What a killed process leaves there goes with the folder.
    with TemporaryDirectory(dir=folder, prefix="found-") as name, database(folder, memory) as connection:
        found = Path(name)
        for number, key in enumerate(keys):
            connection.execute(
                f"COPY (SELECT row FROM (SELECT row, min(row) OVER (PARTITION BY {key}) AS first "  # noqa: S608 - paths of ours
                f"FROM {parquet(folder, SHARDS)}) WHERE row > first) "
                f"TO {quoted(found / f'{number}.parquet')} (FORMAT parquet)"
            )
        together = found / "together.parquet"
        connection.execute(
            f"COPY (SELECT DISTINCT row FROM {parquet(found, '*.parquet')} ORDER BY row) "  # noqa: S608
            f"TO {quoted(together)} (FORMAT parquet)"
        )
        yield from _masks(together, rows)


def _masks(path: Path, rows: Sequence[int]) -> Iterator[Mask]:
    """Yields for each shard which of its rows an ascending list names."""
    with pq.ParquetFile(path) as table:
        batches = (batch["row"].to_numpy() for batch in table.iter_batches())
        held = np.zeros(0, np.int64)
        for number, count in enumerate(rows):
            places = row_numbers(number, np.arange(count))
            while not len(held) or (count and held[-1] < places[-1]):
                if (batch := next(batches, None)) is None:
                    break
                held = np.concatenate([held, batch])
            yield np.isin(places, held, assume_unique=True)
            held = held[held > places[-1]] if count else held


@contextmanager
def database(folder: Path, memory: int) -> Generator[DuckDBPyConnection]:
    """Yields a database in memory that keeps to a limit of it, in bytes, and spills into the folder.

    Raises:
        DataError: it needs more memory or room on the disk, or cannot read what is there.
    """
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{memory // 1_000_000}MB",
        "temp_directory": str(folder / "spilled"),
    }
    try:
        with duckdb.connect(config=settings) as connection:
            yield connection
    except duckdb.Error as error:
        remedy = "; let it use more by --memory" if isinstance(error, duckdb.OutOfMemoryException) else ""
        raise DataError(f"{folder}: {str(error).splitlines()[0]}{remedy}") from None


def quoted(path: Path) -> str:
    """Returns a path as SQL has it."""
    escaped = str(path).replace("'", "''")
    return f"'{escaped}'"


def parquet(folder: Path, pattern: str) -> str:
    """Returns the SQL that reads the files of a pattern, below a folder whose name may look like a pattern too."""
    plain = re.sub(r"([*?[])", r"[\1]", str(folder))
    return f"read_parquet({quoted(Path(plain, pattern))})"
