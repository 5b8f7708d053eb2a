"""Opens text files as bytes: packed, inside a zip archive, or in UTF-16."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nmt.config.paths import archive_and_member
from nmt.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_MAGIC = {"gzip": b"\x1f\x8b", "xz": b"\xfd7zXZ\0", "bzip2": b"BZh", "zstd": b"\x28\xb5\x2f\xfd", "zip": b"PK\x03\x04"}
_SUFFIXES = {".gz": "gzip", ".xz": "xz", ".bz2": "bzip2", ".zst": "zstd"}
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
_CHUNK = 1 << 16


@contextmanager
def open_text(path: Path) -> Generator[IO[bytes]]:
    """Opens a text file as `open_bytes` does; UTF-16 with a byte-order mark is read as UTF-8.

    Raises:
        DataError: as in `open_bytes`.
    """
    with open_bytes(path) as stream:
        yield _as_utf8(stream, path) if _is_regular(stream) else stream


@contextmanager
def open_bytes(path: Path) -> Generator[IO[bytes]]:
    """Opens a file and unpacks gzip, xz, bzip2 and zstd; a pipe is passed through.

    A zip archive is read as a folder: `archive.zip/name` opens a file in it, and `archive.zip` the only one that it holds.

    Raises:
        DataError: the file cannot be opened.
    """
    with ExitStack() as stack:
        with explained(path):
            stream = _raw(path, stack)
            kind = _SUFFIXES.get(path.suffix.lower()) or (packing(_peek(stream)) if _is_regular(stream) else None)
            unpack = _UNPACK.get(kind or "") if _is_regular(stream) else None
            opened: IO[bytes] = stack.enter_context(unpack(stream)) if unpack else stream
        yield opened


@contextmanager
def explained(path: Path | str) -> Generator[None]:
    """Converts the errors of files that cannot be opened, and of damaged archives, to one line.

    Raises:
        DataError: names the file and the reason.
    """
    try:
        yield
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or f"damaged archive ({error or type(error).__name__})"
        raise DataError(f"{path}: {reason}") from None


def packing(start: bytes) -> str | None:
    """Returns the compression format of a file that starts with these bytes."""
    kind = next((name for name, magic in _MAGIC.items() if start.startswith(magic)), None)
    return None if kind == "bzip2" and start[4:10] != b"1AY&SY" else kind


def only_member(path: Path) -> str:
    """Returns the name of the only file in a zip archive.

    Raises:
        DataError: the archive is damaged, or holds none or several.
    """
    with explained(path), _explained_zip(path), zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(names) != 1:
        some = "no files" if not names else f"{len(names)} files; name one of them, as in {path.name}/{names[0]}"
        raise DataError(f"{path}: holds {some}")
    return names[0]


def size_of(path: Path) -> int:
    """Returns the bytes of a file as it is stored, or of one in a zip archive when it is unpacked.

    Raises:
        DataError: there is no such file, or the archive is damaged.
    """
    archive, member = archive_and_member(path)
    with explained(path):
        if not member:
            return path.stat().st_size
        with _explained_zip(path), zipfile.ZipFile(archive) as opened:
            return opened.getinfo(member).file_size


def _raw(path: Path, stack: ExitStack) -> IO[bytes]:
    """Opens a file, or a file in a zip archive, as it is stored."""
    archive, member = archive_and_member(path)
    if not member and path.suffix.lower() == ".zip" and path.is_file():
        member = only_member(path)
    if not member:
        return stack.enter_context(path.open("rb"))
    with _explained_zip(archive / member):
        return stack.enter_context(stack.enter_context(zipfile.ZipFile(archive)).open(member))


@contextmanager
def _explained_zip(path: Path) -> Generator[None]:
    """Converts the errors of an archive that lacks a file, is damaged or encrypted, or packed in a way unknown to Python."""
    try:
        yield
    except KeyError:
        raise DataError(f"{path}: the archive holds no such file") from None
    except (ValueError, RuntimeError, struct.error) as error:
        raise zipfile.BadZipFile(str(error)) from None


def _zstd(stream: IO[bytes]) -> io.BufferedReader:
    import pyarrow as pa

    return io.BufferedReader(pa.CompressedInputStream(stream, "zstd"), _CHUNK)


_UNPACK: dict[str, Callable[[Any], Any]] = {"gzip": gzip.open, "xz": lzma.open, "bzip2": bz2.open, "zstd": _zstd}


def _as_utf8(stream: IO[bytes], path: Path) -> IO[bytes]:
    with explained(path):
        start = _peek(stream)
    encoding = None if start.startswith(codecs.BOM_UTF32_LE) else _UTF16.get(start[:2])
    return io.BufferedReader(_Transcoded(stream, encoding), _CHUNK) if encoding else stream


class _Transcoded(io.RawIOBase):
    """UTF-16 read as UTF-8. What is no character becomes bytes that are not UTF-8, so that its line can be named."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        stream.read(len(codecs.BOM_UTF16))
        self._stream, self._held = stream, b""
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Fills a buffer, and returns the number of its bytes that were filled; 0 at the end."""
        while not self._held and (data := self._stream.read(_CHUNK)):
            self._held = self._decoder.decode(data).encode("utf-8", "surrogatepass")
        if not self._held and self._decoder.getstate()[0]:  # the file ends within a character
            self._held = b"\xff"
            self._decoder.reset()
        view = memoryview(buffer)
        part, self._held = self._held[: len(view)], self._held[len(view) :]
        view[: len(part)] = part
        return len(part)


def _peek(stream: Any) -> bytes:
    return stream.peek(16)


def _is_regular(stream: IO[bytes]) -> bool:
    """Whether reading ahead does not wait: a file, or what is unpacked from one."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # without a number of its own
        return True
