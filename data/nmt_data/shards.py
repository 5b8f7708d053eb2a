"""Shards: some thousand cleaned pairs as Parquet, the unit in which a corpus is passed on, whatever its size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SHARDS = "*.parquet"
"""Their files in a folder."""
SIZE = 20_000
"""Most pairs of a shard."""
_BITS = 20  # of a row number, for the place in its shard
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


def row_numbers(shard: int, places: Rows) -> Rows:
    """Numbers rows of a shard among the rows of all shards."""
    return (shard << _BITS) + places


def place_of(row: int) -> tuple[int, int]:
    """Returns the shard of a row, and its place there."""
    return row >> _BITS, row & ((1 << _BITS) - 1)


def packed(
    source: Sequence[str],
    target: Sequence[str],
    number: int,
    keys: Iterable[str] | None,
    bands: npt.NDArray[np.uint64] | None = None,
) -> bytes:
    """Returns a shard as the bytes of a Parquet file.

    Args:
        source: its sources.
        target: as many targets.
        number: that of the shard, from 0.
        keys: one for each pair; pairs with the same key are repeated. None: nobody will ask.
        bands: (b, pairs) numbers; pairs that share one in the same band resemble each other. None: nobody will ask.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"source": pa.array(source, pa.string()), "target": pa.array(target, pa.string())}
    if keys is not None:
        digests = b"".join(hashlib.blake2b(key.encode(), digest_size=16).digest() for key in keys)
        halves = np.frombuffer(digests, np.uint64).reshape(-1, 2)
        columns |= {"first_half": halves[:, 0], "second_half": halves[:, 1]}
    if bands is not None:
        columns |= {f"band_{band}": numbers for band, numbers in enumerate(bands)}
    if len(columns) > 2:
        columns["row"] = row_numbers(number, np.arange(len(source)))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="lz4", use_dictionary=False, write_statistics=False)
    return sink.getvalue().to_pybytes()


def unpacked(shard: bytes, kept: Mask | None = None) -> tuple[list[str], list[str]]:
    """Returns the sources and the targets of a shard, or of those rows that are kept."""
    table = _table(shard, ["source", "target"])
    if kept is not None and not kept.all():
        table = table.filter(kept)
    return table["source"].to_pylist(), table["target"].to_pylist()


def lines_of(shard: bytes, side: str, rows: Rows) -> list[str]:
    """Returns some lines of one side, `source` or `target`."""
    return _table(shard, [side])[side].take(rows).to_pylist()


def _table(shard: bytes, columns: list[str]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.read_table(pa.BufferReader(shard), columns=columns, use_threads=False)
