"""Counts of the server, in the text format of Prometheus."""

from __future__ import annotations

import itertools
import traceback
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


COUNTED = (
    "blank",
    "source_cut",
    "source_split",
    "target_cut",
    "mended",
    "undrawn",
    "redrawn",
    "unfound",
    "unknown_prefixes",
)
"""What happens to lines, by the names of `nmt.translation.result.Report`."""


class Metrics:
    """What was asked and done since the server began."""

    def __init__(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Begins at zero; `say` receives lines for the log."""
        self.say = say
        self.batches = self.lines = self.characters = self.waiting = self.running = 0
        self._happened: Counter[str] = Counter()
        self._answers: Counter[tuple[str, str, int]] = Counter()
        self._slower: Counter[int] = Counter()  # by the place of the first bound that is not exceeded
        self._seconds = 0.0

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        self._answers[method, route, status] += 1
        self._slower[bisect_left(_BOUNDS, seconds)] += 1
        self._seconds += seconds

    def happened(self, counts: Mapping[str, int]) -> None:
        """Counts what happened to lines: cuts, repairs and hits of the length limit."""
        self._happened.update(counts)

    def failed(self, error: BaseException) -> None:
        """Tells the log of an error that is no client's."""
        for line in "".join(traceback.format_exception(error)).splitlines():
            self.say(line)

    def text(self) -> str:
        """Returns all counts."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield "# TYPE nmt_requests_total counter"
        for (method, route, status), count in sorted(self._answers.items()):
            yield f'nmt_requests_total{{method="{method}",route="{route}",status="{status}"}} {count}'
        yield "# TYPE nmt_request_seconds histogram"
        counts = itertools.accumulate(self._slower[place] for place in range(len(_BOUNDS) + 1))
        for bound, count in zip((*_BOUNDS, "+Inf"), counts, strict=True):
            yield f'nmt_request_seconds_bucket{{le="{bound}"}} {count}'
        yield f"nmt_request_seconds_sum {self._seconds:.6f}"
        yield f"nmt_request_seconds_count {self._slower.total()}"
        for name in ("batches", "lines", "characters"):
            yield f"# TYPE nmt_{name}_total counter"
            yield f"nmt_{name}_total {getattr(self, name)}"
        for name in COUNTED:
            yield f"# TYPE nmt_lines_{name}_total counter"
            yield f"nmt_lines_{name}_total {self._happened[name]}"
        for name, value in (("waiting", self.waiting), ("running", self.running)):
            yield f"# TYPE nmt_requests_{name} gauge"
            yield f"nmt_requests_{name} {value}"
