"""Ownership of files and folders, and whether the owner still lives: in any process, container or machine.

Process numbers do not tell, as containers count their own. On one machine an operating-system lock tells, as it ends with its
owner. Between machines, where locks may not work, an owner touches its files every few seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nmt.errors import NmtError
from nmt.runtime.untrusted import read_regular

BEAT = 5.0
"""Seconds between two touches."""
SILENT = 60.0
"""Seconds without a touch after which an owner on another machine counts as dead."""
_TOKEN = re.compile(r"([0-9a-f]{8})-[0-9a-f]{8}$")
_OWNER = re.compile(r"(?P<process>\d+) on (?P<host>\S+) (?P<token>[0-9a-f]{8}-[0-9a-f]{8})$")


def new_token() -> str:
    """Returns a name for an owner: digits of this boot of the machine, and random ones."""
    return f"{_machine()}-{secrets.token_hex(4)}"


def lock(descriptor: int) -> bool:
    """Locks an open file or folder until it is closed; returns whether the file system has locks.

    Raises:
        BlockingIOError: it is already locked.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def hold(path: Path, descriptor: int, error: str) -> None:
    """Locks an open file until it is closed.

    Raises:
        NmtError: another process has it, or has just renamed it; the text is `error`.
    """
    try:
        lock(descriptor)
        is_there = path.stat().st_ino == os.fstat(descriptor).st_ino
    except (BlockingIOError, FileNotFoundError):
        is_there = False
    if not is_there:
        raise NmtError(error)


@contextmanager
def seized(path: Path, silent: float = 10 * SILENT) -> Generator[bool]:
    """Yields whether the owner of a file or folder, named by its token, is dead; if so, it is locked within the block.

    Args:
        path: a file or folder that may have been left behind.
        silent: seconds without a touch after which an owner on another machine counts as dead.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        yield _is_dead(path, descriptor, silent)
    finally:
        os.close(descriptor)


def _is_dead(path: Path, descriptor: int, silent: float) -> bool:
    try:
        locked = lock(descriptor)
    except BlockingIOError:
        return False
    token = _TOKEN.search(path.name)
    return (locked and token is not None and token[1] == _machine()) or _silence(path) > silent


@contextmanager
def beating(path: Path) -> Generator[None]:
    """Touches a file or folder regularly within the block, as a sign of life."""
    with _repeating(lambda: os.utime(path)):
        yield


@dataclass(frozen=True)
class Claim:
    """A file that records the owner of some work."""

    path: Path
    what: str
    token: str

    def check(self) -> None:
        """Raises NmtError if the folder is gone, or another process took over because this one was silent for too long."""
        if not self.path.exists():
            raise NmtError(f"{self.path.parent} was moved or removed while it was worked in")
        if self.token not in (owner := _read(self.path)):
            raise NmtError(f"{self.what} {_by(owner)}: this process was still for too long, so that one took over")

    def beat(self) -> None:
        """Touches the file if this process still owns it."""
        if self.token in _read(self.path):
            os.utime(self.path)


@contextmanager
def claim(path: Path, what: str) -> Generator[Claim]:
    """Claims work for this process until the block or the process ends.

    Args:
        path: a file that stands for the work; made if missing.
        what: the beginning of the error, for example `runs/mine is being trained`.

    Raises:
        NmtError: another process has claimed it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            locked = lock(descriptor)
        except BlockingIOError:
            raise NmtError(f"{what} {_by(_read(path))}") from None
        owner = _OWNER.match(_read(path))
        if owner and not (locked and owner["token"].startswith(_machine())) and (age := _silence(path)) < SILENT:
            wait = f"it gave a sign of life {age:.0f} s ago; if it was killed, wait {SILENT - age:.0f} s"
            raise NmtError(f"{what} {_by(owner[0])} ({wait})")
        held = Claim(path, what, new_token())
        _write(descriptor, f"{os.getpid()} on {platform.node() or 'unknown'} {held.token}")
        try:
            with _repeating(held.beat):
                yield held
        finally:
            if held.token in _read(path):
                _write(descriptor, "")
    finally:
        os.close(descriptor)


def sign_of_life(path: Path) -> float | None:
    """Returns the seconds since the owner of a claim touched its file, by this machine's clock; None: nobody owns it.

    It only looks: the file is not locked, so that the owner, or the next one, is not disturbed.
    """
    try:
        owner, touched = read_regular(path).decode(errors="replace"), path.stat().st_mtime
    except OSError:
        return None
    return max(0.0, time.time() - touched) if _OWNER.match(owner.strip()) else None


@contextmanager
def _repeating(act: Callable[[], None]) -> Generator[None]:
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(BEAT):
            with suppress(OSError):
                act()

    thread = threading.Thread(target=repeat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _machine() -> str:
    """Returns eight digits that identify the running kernel, which its containers share."""
    try:
        identity = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        identity = platform.node()
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def _silence(path: Path) -> float:
    """Returns seconds since the last touch, by the file system's clock, which machines share; 0 if unknown."""
    try:
        with tempfile.TemporaryFile(dir=path.parent) as probe:
            return os.fstat(probe.fileno()).st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, os.pwrite(descriptor, text.encode(), 0))


def _by(owner: str) -> str:
    """Describes the owner in an error, without its token."""
    found = _OWNER.match(owner)
    return (
        f"by process {found['process']} on {found['host']}" if found else f"by process {owner or 'of another program'}"
    )
