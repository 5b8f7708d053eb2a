"""Shows progress: a live line on a terminal, elsewhere a plain line after some seconds of silence."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from shutil import get_terminal_size
from time import perf_counter

from nmt.corpus.lines import visible_line
from nmt.runtime.stages import Stage, stages
from nmt_cli.standard import silence

_GLANCE = 0.5  # seconds between two checks
_PATIENCE = 4.0  # seconds of silence before a plain line
_LONG, _RARE = 3600.0, 60.0  # seconds after which a command is long, and the patience from then on
_CLEAR = "\r\x1b[K"


class Pulse:
    """A thread that shows the current stage."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._begun = self._said = perf_counter()
        self._shown = False  # whether the terminal shows a live line
        self._screen: Callable[[], None] | None = None

    @contextmanager
    def beating(self) -> Generator[None]:
        """Shows progress while the block runs; of several processes that train together only the first does."""
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
        """Removes the live line while the block writes.

        Args:
            heard: whether the text counts as a sign of life.
        """
        with self._lock:
            self._clear()
            yield
            if heard:
                self._said = perf_counter()

    @contextmanager
    def shown_by(self, screen: Callable[[], None]) -> Generator[None]:
        """Lets `screen` show progress instead of the live line within the block."""
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
            line = _cut(text_of(found, now - self._begun), _columns() - 1)
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
    """Formats the stages and the time left, or taken: `compare: translating, 340 of 1,000 lines, 0:05 left`."""
    texts = [str(item) for item in found]
    said = [one for one, inner in zip(texts, [*texts[1:], ""], strict=False) if not inner.startswith(one)]
    words = visible_line(": ".join(said) or "working")
    if found and found[-1].rate is not None:
        words += f", {found[-1].rate:,.0f} a second"
    left = next((item.left for item in found if item.left is not None), None)
    return f"{words}, {clock(seconds)} so far" if left is None else f"{words}, {clock(left)} left"


def _columns() -> int:
    """Returns the width of the terminal that stderr writes to, which may not be that of stdout."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return columns or get_terminal_size().columns


def _cut(text: str, width: int) -> str:
    """Cuts a text to so many columns; some letters take two."""
    if text.isascii():
        return text[:width]
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= width else set_cell_size(text, width)


def is_live() -> bool:
    """Whether stderr is a terminal whose last line can be rewritten."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def clock(seconds: float) -> str:
    """Formats seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


pulse = Pulse()
