"""Worker processes as the server sees them: a task goes out, its results come back, and a killed process is replaced."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from typing import Any

from nmt.runtime.cpu import usable_cores
from nmt.runtime.crew import do, hire
from nmt.serving.tasks import Opened, Setup, Task, UnopenedError
from nmt.serving.work import opened

_DYING = 5.0  # seconds that a killed process may take to end
_WAITS = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before the models are tried again


class Lost(Exception):  # noqa: N818 - the task may be fine
    """The process was killed while it worked, and another one has taken its place."""


class Worker:
    """One process; each has models of its own, so that one that runs out of memory takes no other with it."""

    def __init__(self, hired: Callable[[], Executor], work: Callable[[Task], list[Any]] = do) -> None:
        """Starts the process.

        Args:
            hired: starts it.
            work: the function that does a task there.
        """
        self._hired, self._work = hired, work
        self._executor = hired()
        self.is_open = True
        """Whether the models could be opened, as far as is known."""

    async def do(self, task: Task) -> list[Any]:
        """Returns the results of a task.

        Raises:
            Lost: the process was killed.
            UnopenedError: the models could not be opened.
            NmtError: the task is wrong.
        """
        executor = self._executor
        try:
            return await asyncio.wrap_future(executor.submit(self._work, task))
        except BrokenExecutor:
            if executor is self._executor:
                self._executor = self._hired()
            raise Lost from None
        except UnopenedError:
            self.is_open = False
            raise

    async def open(self) -> Opened:
        """Waits until the models are open."""
        (found,) = await self.do(Task(None))
        return found

    async def reopen(self, waits: Sequence[float] = _WAITS) -> None:
        """Starts other processes until one opens the models, as when their folder was exchanged while a process was killed.

        Args:
            waits: seconds before each; the last is repeated.
        """
        for seconds in chain(waits, repeat(waits[-1])):
            await asyncio.sleep(seconds)
            self.leave()
            self._executor = self._hired()
            with suppress(Lost, UnopenedError):
                await self.open()
                self.is_open = True
                return

    def leave(self) -> None:
        """Lets the process end, without waiting for it."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def process_workers(setup: Setup, count: int) -> list[Worker]:
    """Starts worker processes."""
    return [Worker(partial(hire, partial(opened, setup), 1)) for _ in range(count)]


def default_workers(device: str) -> int:
    """Returns how many processes suit a device: one for a GPU, else one for each core."""
    return 1 if device.startswith("cuda") or (device == "auto" and _has_gpu()) else usable_cores()


def _has_gpu() -> bool:
    """Asks the driver: torch would too, but the server does without it."""
    try:
        return ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
    except (OSError, AttributeError):
        return False


def kill_workers() -> None:
    """Ends the worker processes at once, whatever they do."""
    processes = multiprocessing.active_children()
    for process in processes:
        process.kill()
    for process in processes:
        process.join(_DYING)
