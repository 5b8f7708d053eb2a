"""Files that are there whole or not at all, and fingerprints of what they hold."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nmt.errors import NmtError

_LITTER = ".tmp-"


def fingerprint(value: Any) -> str:
    """SHA-256 of a JSON-like value, in 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def home_folder() -> Path:
    """Where prepared corpora and what else is made once are kept: NMT_HOME, or the user's cache folder."""
    if value := os.environ.get("NMT_HOME"):
        return Path(value).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "nmt"


@contextmanager
def atomic_folder(final: Path, replace: bool = True) -> Generator[Path]:
    """Yields an empty folder beside `final`; when the block ends it is fsynced and takes the name in one rename.

    What has come to stand there meanwhile is replaced, or kept if `replace` is False: another process made the same.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    draft = final.parent / f"{_LITTER}{final.name}-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        with explain_full_disk(final):
            yield draft
            for path in (*draft.rglob("*"), draft):
                _sync(path)
        if final.exists() and not replace:
            shutil.rmtree(draft)
            return
        if final.exists():
            shutil.rmtree(final)
        draft.rename(final)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    _sync(final.parent)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON-like value, indented, as `atomic_write` does."""
    atomic_write(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def atomic_write(path: Path, data: bytes) -> None:
    """Replaces a file by `data` in one rename, or what a link to it names; makes its folder if there is none.

    Raises:
        NmtError: a folder is in its place, or the disk is full.
    """
    path = destination(path)
    if path.exists() and not path.is_file():
        with explain_full_disk(path):
            path.write_bytes(data)
        return
    draft = path.parent / f"{_LITTER}{path.name}-{os.getpid()}"
    try:
        with explain_full_disk(path):
            draft.write_bytes(data)
            _sync(draft)
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def destination(path: Path) -> Path:
    """Where what is written to a path comes to lie: behind its links, in a folder that is made if there is none.

    A pipe or a device, /dev/stdout for one, has no such place: it is written into as it stands.

    Raises:
        NmtError: it is a folder.
    """
    if path.is_dir():
        raise NmtError(f"{path}: is a folder; a file is to be written")
    if path.exists() and not path.is_file():
        return path
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def clear_litter(folder: Path) -> None:
    """Removes what a killed process left half-written; what a living one writes at this moment stays."""
    for path in folder.glob(f"{_LITTER}*"):
        if _is_alive(path.name.rpartition("-")[2]):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def explain_full_disk(path: Path) -> Generator[None]:
    """Turns a full disk into one line that says how much room is left."""
    try:
        yield
    except Exception as error:
        # safetensors reports the operating system's error in its text only.
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) or "os error 28" in str(error).lower():
            free = shutil.disk_usage(path.parent).free
            raise NmtError(
                f"{path}: no room to write ({free / 1e6:.0f} MB free); what was written before is intact"
            ) from None
        raise


def _is_alive(process: str) -> bool:
    """Whether another process of that number runs here."""
    if not process.isdigit() or int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
