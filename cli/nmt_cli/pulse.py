"""Shows that a command lives: on a terminal a live line, elsewhere a plain line where nothing was said for some seconds."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from shutil import get_terminal_size
from time import perf_counter

from nmt.runtime.stages import Stage, stages
from nmt_cli.standard import silence

_GLANCE = 0.5  # seconds between two looks
_PATIENCE = 4.0  # seconds without a word before a plain line
_LONG, _RARE = 3600.0, 60.0  # seconds from which a command counts as long, and what its patience is then
_CLEAR = "\r\x1b[K"


class Pulse:
    """A thread that looks at what is under way."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._begun = self._said = perf_counter()
        self._shown = False  # whether a live line stands on the terminal
        self._screen: Callable[[], None] | None = None

    @contextmanager
    def beating(self) -> Generator[None]:
        """Inside, a command runs; of several processes that train together the first alone shows that."""
        self._begun = self._said = perf_counter()
        stop = threading.Event()
        thread = threading.Thread(target=self._watch, args=(stop,), name="pulse", daemon=True)
        if os.environ.get("RANK", "0") == "0":
            thread.start()
        try:
            yield
        finally:
            stop.set()
            with self._lock:
                self._clear()

    @contextmanager
    def saying(self, heard: bool = True) -> Generator[None]:
        """Inside, something is written: no live line stands in its way.

        Args:
            heard: it goes where people look for a sign of life.
        """
        with self._lock:
            self._clear()
            yield
            if heard:
                self._said = perf_counter()

    @contextmanager
    def shown_by(self, screen: Callable[[], None]) -> Generator[None]:
        """Inside, a display of its own is told when it is time to show something, instead of the live line."""
        with self._lock:
            self._clear()
            before, self._screen = self._screen, screen
        try:
            yield
        finally:
            with self._lock:
                self._screen = before

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(_GLANCE):
            with self._lock:
                if stop.is_set():
                    return
                try:
                    self._look()
                except OSError:  # stderr cannot be written
                    silence(2)
                    return

    def _look(self) -> None:
        now, found = perf_counter(), stages()
        if self._screen is not None:
            self._screen()
        elif found and found[-1].idle:
            self._clear()
        elif is_live():
            line = text_of(found, now - self._begun)[: get_terminal_size().columns - 1]
            if now - self._said >= 2 * _GLANCE:
                sys.stderr.write(f"{_CLEAR}{line}")
                sys.stderr.flush()
                self._shown = True
        elif now - self._said >= (_PATIENCE if now - self._begun < _LONG else _RARE):
            self._said = now
            sys.stderr.write(f"nmt: {text_of(found, now - self._begun)}\n")
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
            self._shown = False


def text_of(found: tuple[Stage, ...], seconds: float) -> str:
    """What is under way and how long it will take, or has taken: `compare: translating, 340 of 1,000 lines, 0:05 left`."""
    from nmt.corpus.lines import visible_line

    words = visible_line(": ".join(map(str, found)) or "working")
    left = next((item.left for item in found if item.left is not None), None)
    return f"{words}, {clock(seconds)} so far" if left is None else f"{words}, {clock(left)} left"


def is_live() -> bool:
    """Whether stderr is a terminal on which a line can be written anew."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


pulse = Pulse()
