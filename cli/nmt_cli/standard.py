"""The standard streams: there also where they were closed, and in UTF-8 where no terminal asks for something else."""

from __future__ import annotations

import io
import os
import sys
from typing import IO


class _Nowhere(io.TextIOWrapper):
    """Stands where a stream was closed."""

    def __init__(self) -> None:
        super().__init__(io.FileIO(os.devnull, "w"), encoding="utf-8", errors="surrogateescape")


def prepare_streams() -> None:
    """Makes the streams fit to be used; to be called before any file is opened.

    A closed one is held open on nothing: the next file would get its number, and with it what is meant for the stream.
    Text that is not printed on a terminal is UTF-8 as all text is here, whatever the locale says.
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
        else:  # names of files may hold other bytes, and are printed as they are
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


def output_is_closed() -> bool:
    """Whether there was no standard output."""
    return isinstance(sys.stdout, _Nowhere)


def binary_input() -> IO[bytes]:
    """Standard input, in bytes.

    Raises:
        DataError: it is closed.
    """
    if not sys.stdin:
        from nmt.errors import DataError

        raise DataError("standard input is closed; name a file")
    return sys.stdin.buffer


def binary_output() -> IO[bytes]:
    """Standard output, in bytes.

    Raises:
        DataError: it is closed.
    """
    if output_is_closed():
        from nmt.errors import DataError

        raise DataError("standard output is closed, and the results go there")
    return sys.stdout.buffer


def flush_output() -> None:
    """Writes what is still in the buffer, or gives it up: at its exit Python would complain once more."""
    try:
        sys.stdout.flush()
    except OSError:
        silence(1)


def silence(number: int) -> None:
    """Lets what is written to a stream from now on go nowhere, by the number of the stream."""
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing == number:
        os.set_inheritable(number, True)  # children are to find it there too
        return
    os.dup2(nothing, number)
    os.close(nothing)
