"""Long work as a process: a training alone in its folder, stopped where it can go on; a child that ends with its parent."""

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
"""In the environment of a child: number of the process that it is to end with."""

_GLANCE = 0.5  # seconds between two looks at whether the parent lives


class Interrupted(NmtError):  # noqa: N818 - nothing went wrong
    """A signal asked to stop; what is done is saved."""

    def __init__(self, number: int, where: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} {where}; the same command goes on from there")
        self.exit_code = 128 + number


@dataclass
class Stop:
    """The signal that asked to stop; 0 as long as none did."""

    number: int = 0


def only_trainer(folder: Path) -> AbstractContextManager[Claim]:
    """Holds a run folder; the hold ends with the process, however it ends.

    Raises:
        NmtError: another process trains there.
    """
    return claim(folder / "lock", f"{folder} is being trained")


@contextmanager
def stop_signals(at_once: Callable[[], None] | None = None) -> Generator[Stop]:
    """Notes SIGINT, SIGTERM and SIGUSR1; the second of a kind ends the process at once, after `at_once` if it is given.

    Launchers send one of another kind after ^C, and the update is to end all the same. A terminal that is closed sends SIGHUP,
    which counts too where it is not ignored (`nohup`).
    """
    stop = Stop()
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)

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
    """The environment for a command of ours that is to end when this process does, however that ends."""
    return {**os.environ, PARENT: str(os.getpid())}


def follow_parent() -> None:
    """Ends this process with the one that named itself by `child_environment`, if one did."""
    parent = os.environ.pop(PARENT, "")  # it is not the parent of what this process starts
    if parent.isdigit():
        end_with(int(parent))


def end_with(parent: int, number: int = signal.SIGTERM) -> None:
    """Sends this process a signal soon after its parent is gone, also where that was killed and could tell nobody.

    Looking at the parent's number works on every Unix, and whichever thread of the parent has started this process.

    Args:
        parent: number of the process that started this one.
        number: the signal. A training that gets SIGTERM saves what it has done.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_GLANCE)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, name="parent", daemon=True).start()
