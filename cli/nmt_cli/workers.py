"""Translates chunks of lines in several single-threaded processes, which is faster than threads sharing a batch."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nmt_cli.console import note
from nmt_cli.opening import open_for

if TYPE_CHECKING:
    from nmt.translation.result import Report, Translation
    from nmt.translation.translator import Translator
    from nmt_cli.translation_request import TranslationRequest


@dataclass(frozen=True)
class Task:
    """Consecutive lines."""

    lines: list[str]
    prefixes: list[str] | None
    first: int
    """Number of the first line."""
    count: int
    """Number of translations wanted per line."""


@dataclass(frozen=True)
class TranslatedTask:
    """The result of a task."""

    translations: list[list[Translation]]
    report: Report


def translated(tasks: Iterable[Task], request: TranslationRequest) -> Generator[TranslatedTask]:
    """Yields outcomes in the order of the tasks; only a few more tasks than workers run at a time.

    Args:
        tasks: read on demand.
        request: each worker opens its translator from it.

    Raises:
        NmtError: a worker was killed twice at the same lines.
    """
    crew = _Crew(request)
    try:
        for task in tasks:
            crew.give(task)
            if len(crew.waiting) > 2 * request.workers:
                yield crew.next()
        while crew.waiting:
            yield crew.next()
    except BaseException:
        crew.dismiss()
        raise
    crew.leave()


class _Crew:
    """The workers, and the tasks in progress, oldest first."""

    def __init__(self, request: TranslationRequest) -> None:
        self.waiting: deque[tuple[Task, Future[TranslatedTask]]] = deque()
        self._request = request
        self._others = set(multiprocessing.active_children())
        self._lost: Task | None = None  # the oldest task when a worker was killed
        self._pool = self._hire()

    def give(self, task: Task) -> None:
        self.waiting.append((task, self._submit(task)))

    def next(self) -> TranslatedTask:
        """Returns the outcome of the oldest task; tasks of a killed worker are repeated once."""
        while True:
            try:
                outcome = self.waiting[0][1].result()
            except BrokenProcessPool:
                self._start_again()
            else:
                self.waiting.popleft()
                return outcome

    def leave(self) -> None:
        """Ends the idle workers."""
        self._pool.shutdown()

    def dismiss(self) -> None:
        """Ends the workers at once."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - self._others:
            process.kill()

    def _hire(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._request.workers, context, _begin, (self._request, os.getpid()))

    def _submit(self, task: Task) -> Future[TranslatedTask]:
        try:
            return self._pool.submit(_work, task)
        except BrokenProcessPool as error:  # raised again when its turn comes
            future: Future[TranslatedTask] = Future()
            future.set_exception(error)
            return future

    def _start_again(self) -> None:
        """Gives the unfinished tasks to new workers.

        Raises:
            NmtError: this was already tried for the oldest task.
        """
        from nmt.errors import NmtError

        oldest = self.waiting[0][0]
        if oldest is self._lost:
            lines = f"lines {oldest.first + 1} to {oldest.first + len(oldest.lines)}"
            raise NmtError(
                f"worker processes were killed twice at {lines}; if memory ran out, take fewer --workers "
                "or a smaller --batch-size"
            ) from None
        note("nmt: a worker process was killed; its lines are done again")
        self._lost = oldest
        self.dismiss()
        self._pool = self._hire()
        again = [(task, future if _is_done(future) else self._submit(task)) for task, future in self.waiting]
        self.waiting = deque(again)


def _is_done(future: Future[TranslatedTask]) -> bool:
    return future.done() and not isinstance(future.exception(), BrokenProcessPool)


_own: list[Translator] = []  # the translator of a worker process


def _begin(request: TranslationRequest, parent: int) -> None:
    from nmt.runtime.signals import end_with

    end_with(parent, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process ends the workers
    import torch

    torch.set_num_threads(1)
    _own.append(open_for(request))


def _work(task: Task) -> TranslatedTask:
    (translator,) = _own
    found = translator.translate_n_best(task.lines, task.count, task.prefixes, task.first)
    return TranslatedTask(found, translator.report.taken())
