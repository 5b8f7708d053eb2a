"""Chunks of lines translated by several processes of one thread each, which beat threads that share a batch."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nmt.translation import Report, Translation
    from nmt.translator import Translator


@dataclass(frozen=True)
class Task:
    """Lines that follow each other."""

    lines: list[str]
    prefixes: list[str] | None
    first: int
    """Number of the first line."""
    count: int
    """Translations wanted of each."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    translations: list[list[Translation]]
    report: Report


def translated(tasks: Iterable[Task], given: Mapping[str, Any]) -> Iterator[Outcome]:
    """The outcomes in the order of the tasks, of which only a few more than there are workers are under way at a time.

    Args:
        tasks: read as they are needed.
        given: the options, from which each worker opens its own translator.
    """
    workers: int = given["workers"]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin, (dict(given),)) as pool:
        waiting: deque[Future[Outcome]] = deque()
        for task in tasks:
            waiting.append(pool.submit(_work, task))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


_own: list[Translator] = []  # of a worker process


def _begin(given: Mapping[str, Any]) -> None:
    import torch

    from nmt_cli.translate import open_from

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that waits ends the others
    torch.set_num_threads(1)
    _own.append(open_from(given))


def _work(task: Task) -> Outcome:
    from nmt.translation import Report

    (translator,) = _own
    translator.report = Report()
    found = translator.translate_n_best(task.lines, task.count, task.prefixes, task.first)
    return Outcome(found, translator.report)
