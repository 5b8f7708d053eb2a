"""The folder of an unfinished preparation: stages that are done are not done again after a kill."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.errors import DataError, NmtError
from nmt.runtime.atomic import atomic_folder, write_json
from nmt.runtime.files import LITTER, home_folder
from nmt.runtime.owners import hold, seized
from nmt.runtime.untrusted import read_object

_SUFFIX = ".unfinished"
_RECORD = "record.json"
_FORGOTTEN = 7 * 24 * 3600.0  # seconds after which nobody is expected to go on


def corpora_folder() -> Path:
    """Returns the folder of all prepared corpora.

    Raises:
        DataError: its name has a backslash or question mark or is not UTF-8, which the libraries that read there do not take.
    """
    folder = home_folder() / "corpora"
    try:
        plain = not ({"?", "\\"} - {os.sep}) & {*str(folder)}
        str(folder).encode()
    except UnicodeEncodeError:
        plain = False
    if not plain:
        raise DataError(f"{folder}: no corpus can be prepared in a folder of this name; set NMT_HOME to another")
    return folder


@dataclass(frozen=True)
class Unfinished:
    """A folder for the results of stages, each with a record."""

    folder: Path
    say: Callable[[str], None] = lambda _: None
    """Receives a line about a stage that need not be done again."""

    def stage(self, name: str, work: Callable[[Path], dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
        """Returns the folder and the record of a stage, which is done now unless a killed process had done it.

        Args:
            name: says what was done, as in `read`.
            work: does it in an empty folder, and returns the record, which JSON can hold.
        """
        place = self.folder / name
        if (place / _RECORD).exists():
            self.say(f"{name} already, before this was interrupted")
        else:
            with atomic_folder(place) as draft:
                write_json(draft / _RECORD, work(draft))
        return place, read_object(place / _RECORD)


@contextmanager
def unfinished(final: Path, say: Callable[[str], None]) -> Generator[Unfinished]:
    """Yields the folder for the stages of `final`; it is removed unless the block fails after a stage was done.

    Another process that prepares the same at the same time gets a folder of its own.
    """
    _clear_forgotten(final.parent)
    folder = final.with_name(final.name + _SUFFIX)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        hold(folder, descriptor, f"{folder} is another process's")
    except NmtError:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=LITTER) as own:
            yield Unfinished(Path(own), say)
    else:
        done = False
        try:
            yield Unfinished(folder, say)
            done = True
        finally:
            if done or not any(folder.glob(f"*/{_RECORD}")):
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _clear_forgotten(corpora: Path) -> None:
    for path in corpora.glob(f"*{_SUFFIX}"):
        with seized(path, _FORGOTTEN) as forgotten:
            if forgotten:
                shutil.rmtree(path, ignore_errors=True)
