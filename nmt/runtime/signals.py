"""Long work as a process: one training per folder, stops that can resume, children that end with their parent."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from nmt.errors import NmtError
from nmt.runtime.owners import Claim, claim

PARENT = "NMT_PARENT"
"""Environment variable of a child: the number of the process that it ends with."""

_GLANCE = 0.5  # seconds between two checks of the parent


class Interrupted(NmtError):  # noqa: N818 - nothing went wrong
    """A signal asked to stop; the work done is saved."""

    def __init__(self, number: int, where: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} {where}; the same command goes on from there")
        self.exit_code = 128 + number


@dataclass
class Stop:
    """The signal that asked to stop; 0 if none did."""

    number: int = 0


def only_trainer(folder: Path) -> AbstractContextManager[Claim]:
    """Claims a run folder until the process ends.

    Raises:
        NmtError: another process trains there.
    """
    return claim(folder / "lock", f"{folder} is being trained")


@contextmanager
def stop_signals(at_once: Callable[[], None] | None = None) -> Generator[Stop]:
    """Records SIGINT, SIGTERM and SIGUSR1; a second one of the same kind ends the process, after calling `at_once`.

    Launchers send a signal of another kind after ^C, and the update must still finish. A closed terminal sends SIGHUP, which
    counts too unless it is ignored (`nohup`). Outside of the main thread, which alone may handle signals, nothing is recorded.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    # None: a library in C handles it, and Python could not set that handler again.
    numbers = [number for number in numbers if signal.getsignal(number) is not None]

    def note(number: int, _: FrameType | None) -> None:
        stop.number = number
        signal.signal(number, end)

    def end(number: int, _: FrameType | None) -> None:
        if at_once:
            at_once()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def child_environment() -> dict[str, str]:
    """Returns the environment for a child command that ends when this process does."""
    return {**os.environ, PARENT: str(os.getpid())}


def follow_parent() -> None:
    """Ends this process with the one that started it by `child_environment`, if any."""
    parent = os.environ.pop(PARENT, "")  # it does not apply to the children of this process
    if parent.isdigit():
        end_with(int(parent))


def end_with(parent: int, number: int = signal.SIGTERM) -> None:
    """Sends this process a signal soon after its parent has gone, even if that was killed.

    Checking the parent's number works on every Unix, and whichever parent thread has started this process.

    Args:
        parent: number of the parent process.
        number: the signal. A training saves its work on SIGTERM.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_GLANCE)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, name="parent", daemon=True).start()
