"""Translated files that wait to be fetched: in a folder that only this user reads, for an hour."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 3600.0
_MOST = 100  # files; the oldest go first
SUFFIXES = (".txt", ".html")


@dataclass(frozen=True)
class _Kept:
    name: str
    since: float


class Files:
    """The files, each by a name that cannot be guessed."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._kept: dict[str, _Kept] = {}

    def put(self, name: str, data: bytes) -> str:
        """Keeps a file, and returns the name by which it is fetched.

        Raises:
            OSError: it cannot be written.
        """
        self._forget()
        if self._folder is None or not self._folder.is_dir():  # none yet, or somebody has cleaned up
            self._folder = Path(tempfile.mkdtemp(prefix="nmt-serve-"))
            self._kept.clear()
        key = secrets.token_urlsafe(16) + Path(name).suffix
        try:
            (self._folder / key).write_bytes(data)
        except OSError:
            (self._folder / key).unlink(missing_ok=True)
            raise
        self._kept[key] = _Kept(name, time.monotonic())
        return key

    def get(self, key: str) -> tuple[str, bytes] | None:
        """Returns the name and content of a file; None: there is none, or no longer."""
        self._forget()
        kept = self._kept.get(key)
        if kept is None or self._folder is None:
            return None
        try:
            return kept.name, (self._folder / key).read_bytes()
        except OSError:
            return None

    def close(self) -> None:
        """Removes all files."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _forget(self) -> None:
        """Removes files that are too old or too many."""
        now = time.monotonic()
        for key, kept in list(self._kept.items()):
            if now - kept.since < _SECONDS and len(self._kept) <= _MOST:
                break
            del self._kept[key]
            if self._folder is not None:
                (self._folder / key).unlink(missing_ok=True)
