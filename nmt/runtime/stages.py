"""What long work is at and how far it has come: the library counts here, and whoever waits may look."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar

Item = TypeVar("Item")

_AFTER = 2.0  # seconds before it is told how long the rest will take


class Stage:
    """A piece of work under way."""

    def __init__(self, text: str, total: int = 0, unit: str = "lines", idle: bool = False) -> None:
        """Begins now.

        Args:
            text: what is done.
            total: so many units are to be done; 0: that is not known.
            unit: what is counted.
            idle: it waits for somebody, and has nothing to tell.
        """
        self.text, self.total, self.unit, self.idle = text, total, unit, idle
        self.done = 0
        self.begun = perf_counter()

    @property
    def seconds(self) -> float:
        """Time since it began."""
        return perf_counter() - self.begun

    @property
    def left(self) -> float | None:
        """Seconds to its end, at the speed so far; None: that is not known yet."""
        known = self.done and self.total and self.seconds >= _AFTER
        return self.seconds * (self.total - self.done) / self.done if known else None

    def __str__(self) -> str:
        if self.total:
            return f"{self.text}, {self.done:,} of {self.total:,} {self.unit}"
        return f"{self.text}, {self.done:,} {self.unit}" if self.done else self.text


_stages: list[Stage] = []


@contextmanager
def stage(text: str, total: int = 0, unit: str = "lines", idle: bool = False) -> Generator[Stage]:
    """Inside, such work is under way; see `Stage`."""
    here = Stage(text, total, unit, idle)
    with under_way(here):
        yield here


@contextmanager
def under_way(here: Stage) -> Generator[None]:
    """Inside, this stage is under way."""
    _stages.append(here)
    try:
        yield
    finally:
        _stages.remove(here)


def counted(items: Iterable[Item], text: str, total: int = 0, unit: str = "lines") -> Generator[Item]:
    """The items, each counted as done when the next one is asked for."""
    with stage(text, total, unit) as here:
        for item in items:
            yield item
            here.done += 1


def counted_batches(batches: Sequence[list[Item]], text: str) -> Generator[list[Item]]:
    """Batches of lines, whose lines are counted as `counted` counts items."""
    with stage(text, sum(map(len, batches))) as here:
        for batch in batches:
            yield batch
            here.done += len(batch)
            gc.collect(0)  # what this batch has left; see `nmt.runtime.memory.collected_later`


def stages() -> tuple[Stage, ...]:
    """What is under way, from the whole to its part."""
    return tuple(_stages)
