"""The account of a preparation: what became of every pair and every line that was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

from nmt.errors import DataError
from nmt_data.cleaning.filters import FILTERS
from nmt_data.dropped import Dropped
from nmt_data.selecting import HELD_OUT, REASONS, Selection


class Account:
    """Accounts for every pair and every line that was read, by stream."""

    def __init__(self, selection: Selection) -> None:
        """Takes a selection when nothing more is dropped."""
        self.kept = selection.sizes()
        self._counts, self._streams, self._later = selection.gathered.counts, selection.streams, selection.dropped

    def of(self, mono: bool) -> dict[str, Any]:
        """Returns what became of all pairs, or of all lines without translations."""
        rows = [row for row, stream in enumerate(self._streams) if stream.mono == mono]
        read, kept = sum(self._counts[row].read for row in rows), sum(self.kept[row] for row in rows)
        held_out = sum(self._later[row].counts[HELD_OUT] for row in rows)
        dropped = self.dropped(rows)
        if read != kept + held_out + sum(dropped.values()):
            raise AssertionError(f"{read} read, but {kept} kept, {held_out} held out and dropped {dropped}")
        counts = {"read": read, "kept": kept, "held_out": held_out, "dropped": dropped, "mended": self.mended(rows)}
        if mono:
            del counts["held_out"]
        return counts | {"examples": self._all(rows).shown([*FILTERS, *REASONS])}

    def dropped(self, rows: Sequence[int]) -> dict[str, int]:
        """Returns how many pairs or lines of some streams were dropped, by reason."""
        counts = self._all(rows).counts
        early = reduce(add, (self._counts[row].dropped.counts for row in rows))
        return {reason: counts[reason] for reason in (*early, *REASONS) if counts[reason]}

    def _all(self, rows: Sequence[int]) -> Dropped:
        parts = [part for row in rows for part in (self._counts[row].dropped, self._later[row].without(HELD_OUT))]
        return Dropped.joined(parts)

    def mended(self, rows: Sequence[int]) -> dict[str, int]:
        """Returns how many pairs or lines of some streams were mended, by reason."""
        return dict(reduce(add, (Counter(self._counts[row].mended) for row in rows)))

    def parts(self) -> list[dict[str, Any]]:
        """Returns the number of lines of each text without translations."""
        return [
            {"language": stream.languages[0], "files": [path.name for path in stream.files], "lines": lines}
            for stream, lines in zip(self._streams, self.kept, strict=True)
            if stream.mono
        ]

    def check_lines(self) -> None:
        """Refuses text without translations of which nothing is left.

        Raises:
            DataError: names the files.
        """
        rows = [row for row, stream in enumerate(self._streams) if stream.mono]
        for row in rows:
            if not self.kept[row]:
                names = ", ".join(map(str, self._streams[row].files))
                raise DataError(f"data.mono: no line of {names} is left after cleaning ({self.dropped(rows)})")
