"""Finds repeated pairs among shards of any number; DuckDB does it, within a limit of memory, and spills to disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from nmt.runtime.stages import stage
from nmt_data.shards import SHARDS, Mask, row_numbers


def first_rows(folder: Path, rows: Sequence[int], memory: int) -> Iterator[Mask]:
    """Yields for each shard which of its rows are the first with their key.

    Args:
        folder: holds the shards; what is spilled lies there meanwhile.
        rows: number of rows of each shard.
        memory: most memory to use, in bytes.
    """
    if not sum(rows):
        return
    found = folder / "first.parquet"
    with stage("looking for repeated pairs", sum(rows), "pairs"):
        _find(folder, found, memory)
    with pq.ParquetFile(found) as table:
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
    found.unlink()


def _find(folder: Path, found: Path, memory: int) -> None:
    """Writes the first rows of all keys, in order, to a Parquet file."""
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{memory // 1_000_000}MB",
        "temp_directory": str(folder / "spilled"),
    }
    with duckdb.connect(config=settings) as database:
        database.execute(
            f"COPY (SELECT min(row) AS row FROM read_parquet({_quoted(folder / SHARDS)}) "  # noqa: S608 - a path of ours
            f"GROUP BY first_half, second_half ORDER BY row) TO {_quoted(found)} (FORMAT parquet)"
        )


def _quoted(path: Path) -> str:
    escaped = str(path).replace("'", "''")
    return f"'{escaped}'"
