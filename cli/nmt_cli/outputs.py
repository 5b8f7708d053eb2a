"""Looks before the work whether its results can be written."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

_ENOUGH = 4096  # bytes that a full disk has no room for


def check_file(option: str, path: Path | None) -> None:
    """Refuses a file that cannot be written where it is wanted; makes its folder.

    Raises:
        NmtError: a folder is in its place, its folder cannot be written or made, or the disk is full.
    """
    from nmt.errors import NmtError
    from nmt.files import destination

    if path is None:
        return
    try:
        place = destination(path)
        if place.is_file() or not place.exists():
            _try(place.parent)
    except OSError as error:
        raise NmtError(f"{option} {path}: cannot be written ({error.strerror})") from None


def check_folder(option: str, path: Path | None) -> None:
    """Refuses a folder that files cannot be written into; makes it.

    Raises:
        NmtError: it cannot be written or made, or the disk is full.
    """
    from nmt.errors import NmtError

    if path is None:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        _try(path)
    except OSError as error:
        raise NmtError(f"{option} {path}: cannot be written ({error.strerror})") from None


def _try(folder: Path) -> None:
    with TemporaryFile(dir=folder) as stream:
        stream.write(bytes(_ENOUGH))
