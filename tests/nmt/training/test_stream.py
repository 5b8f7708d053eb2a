"""Lines of a pipe: what its reader finds is told to the one who waits for lines."""

from __future__ import annotations

import gzip
import os

import pytest

from nmt.errors import DataError
from nmt_cli.text_files import chunks


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(b"text\n"), "text\n".encode("utf-16"), b"PK\x03\x04\n"],
    ids=["gzip", "utf-16", "zip"],
)
def test_a_pipe_that_is_not_text_is_refused(packed: bytes) -> None:
    """The reader of a pipe is a thread: where it ended with this alone, the command waited for ever."""
    reading, writing = os.pipe()
    os.write(writing, packed)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream, pytest.raises(DataError, match=r"packed|UTF-16"):
        list(chunks(stream))
