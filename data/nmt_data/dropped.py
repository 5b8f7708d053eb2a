"""What was dropped: how many pairs for each reason, and the first of them as examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmt.corpus.lines import beginning

EXAMPLES = 5
"""Examples kept of each reason."""
_LONGEST = 200  # characters of an example in a report
Pair = tuple[str, str]


@dataclass
class Dropped:
    """Pairs that were dropped, by reason."""

    limit: int | None = EXAMPLES
    """Most pairs kept of each reason; None: all."""
    counts: Counter[str] = field(default_factory=Counter[str])
    examples: dict[str, list[Pair]] = field(default_factory=dict[str, list[Pair]])

    def missing(self, reason: str) -> int | None:
        """Returns how many more examples are wanted; None: all."""
        return None if self.limit is None else self.limit - len(self.examples.get(reason, ()))

    def add(self, reason: str, count: int, source: Sequence[str], target: Sequence[str]) -> None:
        """Counts some pairs that come after those before; of them only the first need be given."""
        self.counts[reason] += count
        missing = self.missing(reason)
        self.examples.setdefault(reason, []).extend(zip(source[:missing], target[:missing], strict=True))

    def join(self, other: Dropped) -> None:
        """Adds what was dropped later."""
        for reason, count in other.counts.items():
            found = other.examples.get(reason, [])[: self.missing(reason)]
            self.add(reason, count, [pair[0] for pair in found], [pair[1] for pair in found])

    def without(self, reason: str) -> Dropped:
        """Returns all but one of the reasons."""
        examples = {key: pairs for key, pairs in self.examples.items() if key != reason}
        return Dropped(
            self.limit, Counter({key: count for key, count in self.counts.items() if key != reason}), examples
        )

    def record(self) -> dict[str, Any]:
        """Returns the counts and the examples as JSON can hold them, for `read`."""
        return {"counts": self.counts, "examples": self.examples}

    @classmethod
    def read(cls, record: dict[str, Any]) -> Dropped:
        """Makes it from a record."""
        examples = {reason: [(one, other) for one, other in pairs] for reason, pairs in record["examples"].items()}
        return cls(counts=Counter(record["counts"]), examples=examples)

    @classmethod
    def joined(cls, parts: Iterable[Dropped]) -> Dropped:
        """Joins what was dropped of several streams, the first first."""
        whole = cls()
        for part in parts:
            whole.join(part)
        return whole

    def shown(self, order: Iterable[str]) -> dict[str, list[list[str]]]:
        """Returns the examples for a report, shortened, with the reasons in this order."""
        return {
            reason: [[beginning(side, _LONGEST) for side in pair] for pair in self.examples[reason]]
            for reason in order
            if self.examples.get(reason)
        }


@dataclass(frozen=True)
class Trace:
    """Writes every dropped pair with its reason to Parquet files in a folder, for `nmt data diff`."""

    folder: Path

    def write(self, dropped: Dropped) -> None:
        """Adds pairs, all of which must have been kept."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [(*pair, reason) for reason, pairs in dropped.examples.items() for pair in pairs]
        if rows:
            columns = dict(zip(("source", "target", "reason"), map(list, zip(*rows, strict=True)), strict=True))
            number = sum(1 for _ in self.folder.iterdir())
            pq.write_table(pa.table(columns), self.folder / f"{number:08d}.parquet", compression="lz4")
