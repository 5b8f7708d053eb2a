"""Files of a folder that somebody else may have made: nothing is waited for, followed, or read without a bound."""

from __future__ import annotations

import errno
import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from nmt.errors import CheckpointError

SMALL = 4_000_000
"""Bytes that a recipe, a card or a manifest may have; real ones have some thousand."""


def open_regular(path: Path) -> BufferedReader:
    """Opens a regular file; a pipe or a device is not waited for, and a link not followed.

    Raises:
        OSError: it is something else, or cannot be opened.
    """
    if stat.S_ISREG(path.lstat().st_mode):
        stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
        if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return stream
        stream.close()
    what = "a link; copy the files themselves" if path.is_symlink() else "no regular file"
    raise OSError(errno.EINVAL, f"is {what}", str(path))


def read_regular(path: Path, limit: int = SMALL) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: it is something else, cannot be read, or has more bytes than the limit.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        data = stream.read(size) if size <= limit else b""  # which takes no more memory than the file has bytes
    if size > limit:
        raise OSError(errno.EINVAL, f"has more than {limit:,} bytes, so it is not what its name says", str(path))
    return data


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a small file holds.

    Raises:
        CheckpointError: it cannot be read, or is something else.
    """
    try:
        return parse_object(read_regular(path))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from None


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: it is something else, or holds text that no file can hold.
    """
    try:
        value = json.loads(data)
        json.dumps(value, ensure_ascii=False).encode()  # refuses half characters
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return cast(dict[str, Any], value)
