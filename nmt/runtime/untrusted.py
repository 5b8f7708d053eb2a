"""Safe reading of files that others may have made: nothing blocks, links are not followed, sizes are bounded."""

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
"""Largest size of a recipe, a card or a manifest in bytes; real ones have some thousand."""


def open_regular(path: Path) -> BufferedReader:
    """Opens a regular file; it does not block on pipes or devices, and follows no links.

    Raises:
        OSError: the path is no regular file, or cannot be opened.
    """
    if stat.S_ISREG(path.lstat().st_mode):
        stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
        if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return stream
        stream.close()
    what = "a link; copy the files themselves" if path.is_symlink() else "no regular file"
    raise OSError(errno.EINVAL, f"is {what}", str(path))


def read_regular(path: Path, limit: int = SMALL) -> bytes:
    """Reads a regular file.

    Raises:
        OSError: the path is no regular file, cannot be read, or exceeds the limit.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        data = stream.read(size) if size <= limit else b""  # allocates no more memory than the file has bytes
    if size > limit:
        raise OSError(errno.EINVAL, f"has more than {limit:,} bytes, so it is not what its name says", str(path))
    return data


def read_object(path: Path) -> dict[str, Any]:
    """Reads the JSON object of a small file.

    Raises:
        CheckpointError: the file cannot be read, or is no JSON object.
    """
    try:
        return parse_object(read_regular(path))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from None


def parse_object(data: bytes) -> dict[str, Any]:
    """Parses a JSON object.

    Raises:
        ValueError: the data is something else, or contains text that cannot be encoded.
    """
    try:
        value = json.loads(data)
        json.dumps(value, ensure_ascii=False).encode()  # refuses half characters
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return cast(dict[str, Any], value)
