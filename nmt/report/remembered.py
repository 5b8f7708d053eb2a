"""What was made of a file is made anew only when the file has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
_MOST = 1000  # files


class Remembered(Generic[T]):
    """What a function makes of files; None, of a file that cannot be read, is not kept."""

    def __init__(self, make: Callable[[Path], T | None]) -> None:
        self._make = make
        self._kept: dict[Path, tuple[tuple[int, ...], T]] = {}

    def of(self, path: Path) -> T | None:
        """Returns what is made of a file as it is now."""
        stamp = _stamp(path)  # before it is read: what is added meanwhile changes the next one
        kept = self._kept.get(path)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        made = self._make(path)
        if made is not None:
            if len(self._kept) >= _MOST:
                del self._kept[next(iter(self._kept))]
            self._kept[path] = stamp, made
        return made


def _stamp(path: Path) -> tuple[int, ...]:
    """Returns numbers that change when a file does; none if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
