"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nmt.config.paths import real_path
from nmt.errors import NmtError
from nmt.runtime.files import LITTER, destination, explain_full_disk
from nmt.runtime.owners import beating, lock, new_token, seized


@contextmanager
def atomic_folder(final: Path, keep: Callable[[Path], bool] = lambda _: False) -> Generator[Path]:
    """Yields an empty folder beside `final`; after the block it is fsynced and renamed to `final`.

    Args:
        final: the folder, which is complete or absent.
        keep: whether to keep a folder that another process has put there meanwhile, because it is equal; otherwise it is
            replaced.

    Raises:
        NmtError: a file is in its place, or the disk is full.
    """
    final = real_path(final) if final.is_symlink() else final
    if final.is_file():
        raise NmtError(f"{final}: is a file; a folder is to be written")
    final.parent.mkdir(parents=True, exist_ok=True)
    clear_litter(final.parent, final.name)
    draft, descriptor = _draft(final, _make_folder)
    try:
        with explain_full_disk(final), beating(draft):
            yield draft
            for path in (*draft.rglob("*"), draft):
                _sync(path)
        _put(draft, final, keep)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)
    _sync(final.parent)


def _put(draft: Path, final: Path, keep: Callable[[Path], bool]) -> None:
    """Renames a draft to its final name. Other processes may do the same at the same time."""
    aside = draft.with_name(f"{LITTER}old-{new_token()}")
    while True:
        try:
            draft.rename(final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
        if keep(final):
            shutil.rmtree(draft)
            return
        with suppress(FileNotFoundError):
            final.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _draft(final: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Makes a path beside `final` with a token of this owner, and returns it with its open, locked descriptor.

    Before it is locked it may be removed as litter; then another one is made.
    """
    while True:
        draft = final.parent / f"{LITTER}{final.name}-{new_token()}"
        descriptor = make(draft)
        with suppress(OSError):
            lock(descriptor)
            if draft.stat().st_ino == os.fstat(descriptor).st_ino:
                return draft, descriptor
        os.close(descriptor)


def _make_folder(path: Path) -> int:
    while True:
        path.mkdir()
        with suppress(FileNotFoundError):  # already removed as litter
            return os.open(path, os.O_RDONLY)


def _make_file(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON-like value, indented, by `atomic_write`."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    atomic_write(
        path, text.encode(errors="backslashreplace")
    )  # a name may contain other bytes, written \\udcff, which JSON reads back


def atomic_write(path: Path, data: bytes) -> None:
    """Replaces a file, or the target of a link, by `data` in one rename; makes its folder if missing.

    Raises:
        NmtError: a folder is in its place, or the disk is full.
    """
    path = destination(path)
    if path.exists() and not path.is_file():
        with explain_full_disk(path):
            path.write_bytes(data)
        return
    with explain_full_disk(path):
        draft, descriptor = _draft(path, _make_file)
    try:
        with explain_full_disk(path):
            draft.write_bytes(data)
            os.fsync(descriptor)
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    _sync(path.parent)


def clear_litter(folder: Path, name: str = "") -> None:
    """Removes what killed processes left unfinished in a folder; what belongs to living ones stays, on any machine.

    Args:
        folder: where to look.
        name: only drafts whose final name begins with this.
    """
    for path in folder.glob(f"{LITTER}{glob.escape(name)}*"):
        with seized(path) as dead:
            if dead and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif dead:
                with suppress(OSError):
                    path.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
