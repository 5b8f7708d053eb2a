"""Stages of long work and their progress: the library counts, and a display can read."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar

Item = TypeVar("Item")

_AFTER = 2.0  # seconds before the remaining time is estimated
_MANY = 10_000  # units before their rate is worth a word


class Stage:
    """A stage of work in progress."""

    def __init__(self, text: str, total: int = 0, unit: str = "lines", idle: bool = False) -> None:
        """Begins the stage now.

        Args:
            text: describes the work.
            total: number of units to do; 0: unknown.
            unit: name of the units.
            idle: whether it only waits, so that there is nothing to show.
        """
        self.text, self.total, self.unit, self.idle = text, total, unit, idle
        self.done = 0
        self.begun = perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the stage began."""
        return perf_counter() - self.begun

    @property
    def left(self) -> float | None:
        """Seconds to the end at the speed so far; None: not known yet."""
        known = self.done and self.total and self.seconds >= _AFTER
        return self.seconds * (self.total - self.done) / self.done if known else None

    @property
    def rate(self) -> float | None:
        """Units a second so far; None: not known yet, or too few to tell."""
        known = self.done >= _MANY and self.seconds >= _AFTER
        return self.done / self.seconds if known else None

    def __str__(self) -> str:
        if self.total:
            return f"{self.text}, {self.done:,} of {self.total:,} {self.unit}"
        return f"{self.text}, {self.done:,} {self.unit}" if self.done else self.text


_stages: list[Stage] = []


@contextmanager
def stage(text: str, total: int = 0, unit: str = "lines", idle: bool = False) -> Generator[Stage]:
    """Runs the block as a stage; see `Stage`."""
    here = Stage(text, total, unit, idle)
    with under_way(here):
        yield here


@contextmanager
def under_way(here: Stage) -> Generator[None]:
    """Makes a stage current within the block."""
    _stages.append(here)
    try:
        yield
    finally:
        _stages.remove(here)


def counted(items: Iterable[Item], text: str, total: int = 0, unit: str = "lines") -> Generator[Item]:
    """Yields the items and counts each as done when the next is requested."""
    with stage(text, total, unit) as here:
        for item in items:
            yield item
            here.done += 1


def counted_batches(batches: Sequence[list[Item]], text: str) -> Generator[list[Item]]:
    """Yields batches of lines and counts their lines."""
    with stage(text, sum(map(len, batches))) as here:
        for batch in batches:
            yield batch
            here.done += len(batch)
            gc.collect(0)  # garbage of this batch; see `nmt.runtime.memory.collected_later`


def stages() -> tuple[Stage, ...]:
    """Returns the current stages, outermost first."""
    return tuple(_stages)
