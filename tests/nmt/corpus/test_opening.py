"""Opening: packed files, files in archives and files in UTF-16 have the lines of the text in them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nmt.corpus.lines import file_lines
from nmt.corpus.opening import open_text
from nmt.errors import DataError
from nmt.runtime.files import file_sha256
from packing import in_utf16, in_zstd

TEXT = st.text(st.characters(codec="utf-8"), max_size=60).filter(lambda text: not text.startswith(("\ufeff", "\0")))


def _zipped(folder: Path, files: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / "all.zip"
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@given(TEXT, st.sampled_from(["utf-16-le", "utf-16-be"]), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_utf16_has_the_lines_of_its_text(tmp_path: Path, text: str, encoding: str, packed: bool) -> None:
    """In both byte orders, packed or not: a line feed within a character, such as U+0A0A, is none."""
    content = in_utf16(text.encode(), encoding)
    (tmp_path / "text").write_bytes(gzip.compress(content) if packed else content)
    with open_text(tmp_path / "text") as stream:
        assert stream.read() == text.encode()
    with open_text(tmp_path / "text") as stream:
        assert list(stream) == list(io.BytesIO(text.encode()))


def test_long_utf16_is_whole(tmp_path: Path) -> None:
    """Characters that two reads share are not torn apart."""
    text = ("x" * 32_767 + "😀\n") * 20
    (tmp_path / "text").write_bytes(in_utf16(text.encode()))
    assert [line.decode() for line in file_lines(tmp_path / "text")] == text.splitlines()


@pytest.mark.parametrize("rest", [b"\x3d\xd8", b"a", b"\x00\xdca\x00"], ids=["high", "torn", "low"])
def test_half_a_character_of_utf16_is_on_its_line(tmp_path: Path, rest: bytes) -> None:
    """It is not UTF-8 there, and the other lines are what they are."""
    (tmp_path / "text").write_bytes(in_utf16(b"ja\nnein ") + rest)
    first, second = file_lines(tmp_path / "text")
    assert first == b"ja"
    with pytest.raises(UnicodeDecodeError):
        second.decode()


def test_zstandard_is_read_to_its_last_frame(tmp_path: Path) -> None:
    """By its name or by what it holds; a frame that is skipped, one that is empty, and none at all are no error."""
    frames = in_zstd(b"a\n", b"", b"b\n") + b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc" + in_zstd(b"c\n" * 100_000)
    for name in ("text.zst", "text"):
        (tmp_path / name).write_bytes(frames)
        assert list(file_lines(tmp_path / name)) == [b"a", b"b", *[b"c"] * 100_000]
    for damaged in (frames[:-3], frames + b"more"):
        (tmp_path / "text.zst").write_bytes(damaged)
        with pytest.raises(DataError, match=r"text\.zst: damaged archive \(.*\)$"):
            list(file_lines(tmp_path / "text.zst"))


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_is_a_folder(tmp_path: Path, packing: int) -> None:
    """A file in it has a path, may be packed itself, and has a fingerprint of its own."""
    files = {"C.de": b"ja\n", "C.en": b"yes\n", "in/C.fr.gz": gzip.compress(b"oui\n"), "C.it": in_utf16(b"si\n")}
    path = _zipped(tmp_path, files, packing)
    found = {name: next(file_lines(path / name)) for name in files}
    assert found == {"C.de": b"ja", "C.en": b"yes", "in/C.fr.gz": b"oui", "C.it": b"si"}
    assert len({file_sha256(path / name) for name in files} | {file_sha256(path)}) == len(files) + 1
    with pytest.raises(DataError, match=r"all\.zip/C\.es: the archive holds no such file$"):
        list(file_lines(path / "C.es"))


def test_a_zip_of_one_file_is_that_file(tmp_path: Path) -> None:
    """What a Macintosh adds does not count; of several files none is chosen."""
    files = {"in/": b"", "in/text": b"ja\n", "__MACOSX/in/._text": b"\0"}
    assert list(file_lines(_zipped(tmp_path, files))) == [b"ja"]
    with pytest.raises(DataError, match=r"all\.zip: holds 2 files; name one of them, as in all\.zip/a$"):
        list(file_lines(_zipped(tmp_path, {"a": b"1\n", "b": b"2\n"})))
    with pytest.raises(DataError, match=r"all\.zip: holds no files$"):
        list(file_lines(_zipped(tmp_path, {})))


PACKERS = (gzip.compress, lzma.compress, bz2.compress, in_zstd, in_utf16)


@given(
    st.integers(0, len(PACKERS)), st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), max_size=4), st.data()
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_a_damaged_file_is_lines_or_one_line(
    tmp_path: Path, kind: int, changes: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Whatever bytes of a packed file are changed or cut off: never a traceback."""
    text = b"ja\nnein\n" * 40
    zipped = _zipped(tmp_path, {"text": text}).read_bytes()
    content = bytearray(PACKERS[kind](text) if kind < len(PACKERS) else zipped)
    for place, byte in changes:
        content[place % len(content)] = byte
    path = tmp_path / ("text.zip" if kind == len(PACKERS) else "text")
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    assert "\n" not in _complaint(path)


def _complaint(path: Path) -> str:
    try:
        list(file_lines(path))
    except DataError as error:
        return str(error)
    return ""
