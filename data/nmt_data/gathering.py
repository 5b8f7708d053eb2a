"""Gathers the training text of all streams into clean shards, on all cores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nmt.config.data import DataConfig
from nmt_data.cleaning.cleaner import Cleaner, Raw
from nmt_data.cleaning.filters import FILTERS
from nmt_data.dropped import Dropped, Trace
from nmt_data.means import Means
from nmt_data.reading import Unreadable
from nmt_data.streams import Stream


@dataclass(frozen=True)
class Gathered:
    """Clean shards, and what became of the pairs read."""

    folder: Path
    rows: list[int]
    """Number of rows of each shard."""
    streams: list[int]
    """Number of the stream of each shard."""
    counts: list[Counts]
    """For each stream."""

    def shard(self, number: int) -> bytes:
        """Returns a shard as the bytes of its file."""
        return shard_path(self.folder, number).read_bytes()

    @classmethod
    def of(cls, folder: Path, record: dict[str, Any]) -> Gathered:
        """Reads the record that `gather` returns."""
        counts = [Counts(entry["read"], Dropped.read(entry["dropped"]), entry["mended"]) for entry in record["counts"]]
        return cls(folder, record["rows"], record["streams"], counts)


@dataclass
class Counts:
    """What became of the pairs of a stream."""

    read: int
    """Number of pairs read, unreadable ones included."""
    dropped: Dropped
    mended: dict[str, int]


def gather(
    folder: Path, streams: Sequence[Stream], data: DataConfig, means: Means, trace: Trace | None = None
) -> dict[str, Any]:
    """Writes the shards of all streams into a folder; returns the record of what they are.

    Args:
        folder: an empty one.
        streams: what to read.
        data: how to clean it.
        means: processes to use.
        trace: receives all dropped pairs.

    Raises:
        DataError: a file cannot be read.
    """
    skip = data.on_bad_text == "skip"
    unreadable = [Unreadable(skip=skip) for _ in streams]
    read = [0] * len(streams)
    dropped, mended = [Dropped() for _ in streams], [Counter[str]() for _ in streams]
    rows, owners = list[int](), list[int]()
    crew = means.crew(partial(Cleaner, data, trace is not None), name=_name)
    for number, cleaned in enumerate(crew.results(_raw(streams, unreadable, owners))):
        shard_path(folder, number).write_bytes(cleaned.shard)
        rows.append(cleaned.rows)
        owner = owners[number]
        read[owner] += cleaned.read
        dropped[owner].join(cleaned.dropped)
        mended[owner] += cleaned.mended
        if trace:
            trace.write(cleaned.dropped)
    counts = list[dict[str, Any]]()
    for stream, bad in enumerate(unreadable):
        found = dropped[stream]
        total = bad.counts() | {reason: found.counts[reason] for reason in FILTERS if found.counts[reason]}
        counts.append(
            {
                "read": read[stream] + sum(bad.counts().values()),
                "dropped": {"counts": total, "examples": found.examples},
                "mended": dict(mended[stream]),
            }
        )
    return {"rows": rows, "streams": owners, "counts": counts}


def _raw(streams: Sequence[Stream], unreadable: Sequence[Unreadable], owners: list[int]) -> Generator[Raw]:
    """Yields the raw shards of all streams, and notes to which stream each belongs."""
    for number, (stream, bad) in enumerate(zip(streams, unreadable, strict=True)):
        for raw in stream.raw(len(owners), bad):
            owners.append(number)
            yield raw


def _name(raw: Raw) -> str:
    return f"shard {raw.number}"


def shard_path(folder: Path, number: int) -> Path:
    """Returns the path of a shard; names sort like numbers."""
    return folder / f"{number:08d}.parquet"
