"""Finds repeated pairs among shards of any number; DuckDB does it, within a limit of memory, and spills to disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

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
                f"FROM read_parquet({quoted(folder / SHARDS)})) WHERE row > first) "
                f"TO {quoted(found / f'{number}.parquet')} (FORMAT parquet)"
            )
        together = found / "together.parquet"
        connection.execute(
            f"COPY (SELECT DISTINCT row FROM read_parquet({quoted(found / '*.parquet')}) ORDER BY row) "  # noqa: S608
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


def database(folder: Path, memory: int) -> DuckDBPyConnection:
    """Opens a database in memory that keeps to a limit of it, in bytes, and spills into the folder."""
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{memory // 1_000_000}MB",
        "temp_directory": str(folder / "spilled"),
    }
    return duckdb.connect(config=settings)


def quoted(path: Path) -> str:
    """Returns a path as SQL has it."""
    escaped = str(path).replace("'", "''")
    return f"'{escaped}'"
