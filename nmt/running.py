"""Long work as a process: a training alone in its folder, and stopped by a signal only where it can go on."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from nmt.errors import NmtError


class Interrupted(NmtError):  # noqa: N818 - nothing went wrong
    """A signal asked to stop; what is done is saved."""

    def __init__(self, number: int, where: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} {where}; the same command goes on from there")
        self.exit_code = 128 + number


@dataclass
class Stop:
    """The signal that asked to stop; 0 as long as none did."""

    number: int = 0


@contextmanager
def only_trainer(folder: Path) -> Generator[None]:
    """Holds a run folder; the lock ends with the process, however it ends.

    Raises:
        NmtError: another process trains there.
    """
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise NmtError(f"{folder} is being trained by process {lock.read().strip()}") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()} on {os.uname().nodename}")
        lock.flush()
        yield


@contextmanager
def stop_signals(at_once: Callable[[], None] | None = None) -> Generator[Stop]:
    """Notes SIGINT, SIGTERM and SIGUSR1; the second of a kind ends the process at once, after `at_once` if it is given.

    Launchers send one of another kind after ^C, and the update is to end all the same.
    """
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

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
