"""A crew of worker processes: tasks go in, results come out in the same order, and a killed worker costs only time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Generic, TypeVar

from nmt.errors import NmtError
from nmt.runtime.signals import end_with

Task = TypeVar("Task")
Result = TypeVar("Result")
Opening = Callable[[], Callable[[Task], Result]]
"""Returns the function that does the tasks, once in each process; it travels there, and so must its arguments."""


class Pause:
    """Stands in place of a task: there is none yet, so finished results may be given out meanwhile."""


def _nameless(_: Any) -> str:
    return "the same task"


@dataclass(frozen=True)
class Crew(Generic[Task, Result]):
    """How tasks are done; the result of a task must not depend on the others."""

    opening: Opening[Task, Result]
    workers: int
    alone: int = 0
    """Number of tasks that this process does before it starts any workers."""
    name: Callable[[Task], str] = _nameless
    """Names a task in the error, as in `lines 1 to 100`."""
    remedy: str = "if memory ran out, take fewer processes"
    say: Callable[[str], None] = lambda _: None
    """Receives a line when a worker was killed."""

    def results(self, tasks: Iterable[Task | Pause]) -> Generator[Result]:
        """Yields the results in the order of the tasks, which are read on demand: a few more than there are workers.

        A finished result waits for no more tasks than one, and for none if `Pause` comes in its place.

        Raises:
            NmtError: a worker was killed twice at the same task.
        """
        remaining = iter(tasks)
        real = (task for task in remaining if not isinstance(task, Pause))
        if self.workers == 1 or self.alone:
            work = self.opening()
            yield from map(work, real if self.workers == 1 else islice(real, self.alone))
        first = next(real, None)
        if first is not None:
            yield from self._shared(first, remaining)

    def _shared(self, first: Task, others: Iterable[Task | Pause]) -> Generator[Result]:
        pool = _Pool(self)
        try:
            pool.give(first)
            for task in others:
                if not isinstance(task, Pause):
                    pool.give(task)
                while len(pool.waiting) > 2 * self.workers or pool.is_ready:
                    yield pool.next()
            while pool.waiting:
                yield pool.next()
        except BaseException:
            pool.dismiss()
            raise
        pool.leave()


class _Pool(Generic[Task, Result]):
    """The workers, and the tasks in progress, oldest first."""

    def __init__(self, crew: Crew[Task, Result]) -> None:
        self.waiting: deque[tuple[Task, Future[Result]]] = deque()
        self._crew = crew
        self._others = set(multiprocessing.active_children())
        self._lost: Task | None = None  # the oldest task when a worker was killed
        self._executor = self._hire()

    def give(self, task: Task) -> None:
        self.waiting.append((task, self._submit(task)))

    @property
    def is_ready(self) -> bool:
        """Whether the result of the oldest task can be had without waiting."""
        return bool(self.waiting) and self.waiting[0][1].done()

    def next(self) -> Result:
        """Returns the result of the oldest task; tasks of a killed worker are repeated once."""
        while True:
            try:
                result = self.waiting[0][1].result()
            except BrokenProcessPool:
                self._start_again()
            else:
                self.waiting.popleft()
                return result

    def leave(self) -> None:
        """Ends the idle workers."""
        self._executor.shutdown()

    def dismiss(self) -> None:
        """Ends the workers at once."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - self._others:
            process.kill()

    def _hire(self) -> ProcessPoolExecutor:
        return hire(self._crew.opening, self._crew.workers)

    def _submit(self, task: Task) -> Future[Result]:
        try:
            return self._executor.submit(do, task)
        except BrokenProcessPool as error:  # raised again when its turn comes
            future: Future[Result] = Future()
            future.set_exception(error)
            return future

    def _start_again(self) -> None:
        """Gives the unfinished tasks to new workers.

        Raises:
            NmtError: this was already tried for the oldest task.
        """
        oldest = self.waiting[0][0]
        if oldest is self._lost:
            where = self._crew.name(oldest)
            raise NmtError(f"worker processes were killed twice at {where}; {self._crew.remedy}") from None
        self._crew.say("a worker process was killed; its work is done again")
        self._lost = oldest
        self.dismiss()
        self._executor = self._hire()
        again = [(task, future if _is_done(future) else self._submit(task)) for task, future in self.waiting]
        self.waiting = deque(again)


def _is_done(future: Future[Any]) -> bool:
    return future.done() and not isinstance(future.exception(), BrokenProcessPool)


class _Worker(SpawnProcess):
    """A new Python process, which does not run the main script of this one: that may do work without asking who runs it."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802 - a name of the standard library
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            return SpawnProcess._Popen(process_obj)
        finally:
            sys.modules["__main__"] = main


class _Context(SpawnContext):
    Process = _Worker


_own: list[Callable[[Any], Any]] = []  # what a worker process does


def hire(opening: Opening[Any, Any], workers: int) -> ProcessPoolExecutor:
    """Returns new worker processes, which end with this one; `submit(do, task)` gives them a task."""
    return ProcessPoolExecutor(workers, _Context(), _begin, (opening, os.getpid()))


def _begin(opening: Opening[Any, Any], parent: int) -> None:
    end_with(parent, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process ends the workers
    _own.append(opening())


def do(task: Any) -> Any:
    """Does a task; to be called in a worker process."""
    (work,) = _own
    return work(task)
