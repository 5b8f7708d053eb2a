"""The standard streams: usable even if closed, and in UTF-8 unless they are a terminal."""

from __future__ import annotations

import io
import os
import sys
from typing import IO

from nmt.errors import DataError


class _Nowhere(io.TextIOWrapper):
    """Replaces a closed stream."""

    def __init__(self) -> None:
        super().__init__(io.FileIO(os.devnull, "w"), encoding="utf-8", errors="surrogateescape")


def prepare_streams() -> None:
    """Makes the streams usable; to be called before any file is opened.

    A closed stream is opened on the null device. Otherwise the next opened file would get its number, and with it the text
    meant for the stream. Output that is not a terminal is in UTF-8, as all text here, whatever the locale.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            silence(number)
    if not sys.stderr:
        sys.stderr = _Nowhere()
    if not sys.stdout:
        sys.stdout = _Nowhere()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="backslashreplace")
        else:  # file names may contain other bytes, which are printed unchanged
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


def output_is_closed() -> bool:
    """Whether standard output was closed."""
    return isinstance(sys.stdout, _Nowhere)


def binary_input() -> IO[bytes]:
    """Returns standard input as bytes.

    Raises:
        DataError: standard input is closed.
    """
    if not sys.stdin:
        raise DataError("standard input is closed; name a file")
    return sys.stdin.buffer


def binary_output() -> IO[bytes]:
    """Returns standard output as bytes.

    Raises:
        DataError: standard output is closed.
    """
    if output_is_closed():
        raise DataError("standard output is closed, and the results go there")
    return sys.stdout.buffer


def flush_output() -> None:
    """Writes the rest of the buffer, or drops it: otherwise Python would complain again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        silence(1)


def silence(number: int) -> None:
    """Redirects a stream, given by its number, to the null device."""
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing == number:
        os.set_inheritable(number, True)  # children must find it there too
        return
    os.dup2(nothing, number)
    os.close(nothing)
