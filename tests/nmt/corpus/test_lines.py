"""Lines: as many out as in, whatever they hold."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nmt.corpus.lazy_lines import mapped_lines
from nmt.corpus.lines import clean_line, decode_strict, has_control, read_lines, split_lines, split_long, write_lines
from nmt.errors import DataError
from nmt_cli.text_files import chunks

PACKED = (
    gzip.compress(b"a\n", mtime=0),
    lzma.compress(b"a\n"),
    bz2.compress(b"a\n"),
    b"\x28\xb5\x2f\xfd\x04",
    b"PK\x03\x04\x14",
)
WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32")


@given(st.binary())
def test_lines_are_split_on_line_feeds_alone(data: bytes) -> None:
    """As many lines as line feeds, and one more if something stands after the last; what is no UTF-8 text is refused."""
    try:
        lines = list(split_lines(io.BytesIO(data)))
    except DataError:
        assume(False)
    assert len(lines) == data.count(b"\n") + (not data.endswith(b"\n") and bool(data))


@given(st.text())
def test_a_clean_line_is_one_line(text: str) -> None:
    """No program that reads it will see two."""
    cleaned = clean_line(text)
    assert not has_control(cleaned)
    assert len(cleaned.splitlines()) <= 1
    assert clean_line(cleaned) == cleaned


def test_no_break_spaces_stay() -> None:
    """Cleaning a line keeps its no-break spaces, wide and narrow."""
    assert clean_line("a\u00a0b\u202f!") == "a\u00a0b\u202f!"


def test_carriage_return_and_byte_order_mark_go() -> None:
    """Reading removes one carriage return per line end and the byte order mark of the text."""
    assert list(split_lines(io.BytesIO(b"\xef\xbb\xbfa\r\n\xef\xbb\xbfb\r\r\n"))) == [b"a", b"\xef\xbb\xbfb\r"]


def test_bad_utf8_names_the_place() -> None:
    """Invalid UTF-8 is reported with its file, line, byte position and byte value."""
    with pytest.raises(DataError, match=r"x, line 3: byte 2 \(0xff\)"):
        decode_strict(b"a\xff", "x, line 3")


def test_files_are_read_as_written(tmp_path: Path) -> None:
    """Written lines, empty ones included, are read back unchanged; a missing file is a data error."""
    write_lines(tmp_path / "a", ["ä", "", "b"])
    assert read_lines(tmp_path / "a") == ["ä", "", "b"]
    with pytest.raises(DataError, match="No such file"):
        read_lines(tmp_path / "missing")


@pytest.mark.parametrize("data", PACKED, ids=("gzip", "xz", "bzip2", "zstd", "zip"))
def test_packed_files_are_read_or_refused(data: bytes, tmp_path: Path) -> None:
    """By what they hold, not by their names; what comes through a pipe is refused, and so is a damaged one or a zip."""
    path = tmp_path / "text"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"^standard input: is packed by \w+; unpack it first$"):
        list(split_lines(io.BytesIO(data)))
    if data in PACKED[:3]:
        assert read_lines(path) == ["a"]
        path.write_bytes(data[:-6])
        with pytest.raises(DataError, match="damaged archive"):
            read_lines(path)
    else:
        with pytest.raises(DataError, match=r"text: (is packed by zip; unpack it first|damaged archive .*)$"):
            read_lines(path)


@pytest.mark.parametrize("encoding", WIDE)
def test_text_in_utf16_needs_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    """Without one it is refused, and so is UTF-32."""
    path = tmp_path / "text"
    path.write_bytes("Der Hund schläft.\nÜber uns\n".encode(encoding))
    if encoding == "utf-16":
        assert read_lines(path) == ["Der Hund schläft.", "Über uns"]
        return
    with pytest.raises(DataError, match=r"text: looks like UTF-16, not UTF-8; convert it: iconv"):
        read_lines(path)


def test_zeros_are_no_sign_of_utf16(tmp_path: Path) -> None:
    """Many of them, one after each letter of a short word, or one at an end are characters as others are."""
    for text in ("\0" * 1000 + "Hund", "a\0b\0", "Hund\0", "\0Hund", "\0"):
        (tmp_path / "text").write_bytes(text.encode() + b"\nx\n")
        assert read_lines(tmp_path / "text") == [clean_line(text), "x"]


def test_carriage_returns_alone_are_no_line_ends(tmp_path: Path) -> None:
    """Text with carriage returns as its only line ends is refused; elsewhere they may occur within lines."""
    (tmp_path / "text").write_bytes(b"a\rb\rc\r")
    with pytest.raises(DataError, match=r"text: its lines end with carriage returns alone; convert it: tr "):
        read_lines(tmp_path / "text")
    (tmp_path / "text").write_bytes(b"a\rb\r\nc\r\n")
    assert read_lines(tmp_path / "text") == ["a b", "c"]
    with pytest.raises(DataError, match="standard input: its lines end with carriage returns alone"):
        next(split_lines([b"a\rb\rc\r"]))
    assert list(split_lines([b"a\r\n", b"b\rc"])) == [b"a", b"b\rc"]
    assert list(split_lines([b"a\r"])) == [b"a"]


def test_half_a_character_is_replaced() -> None:
    """A lone surrogate is no text: nothing could write it."""
    assert clean_line("gut \ud83d") == "gut \ufffd"


def _is_short(limit: int, text: str) -> bool:
    return len(text) <= limit


@given(st.integers(0, 30), st.integers(0, 30))
def test_long_text_is_split_between_letters(before: int, after: int) -> None:
    """Never between a letter and its marks, or within what a joiner holds together."""
    for letter in ("कि", "n\u0303", "👩\u200d🔬", "สี่"):
        text = "x" * before + letter + "x" * after
        parts = split_long(text, partial(_is_short, len(letter)))
        assert "".join(parts) == text
        assert any(letter in part for part in parts), (letter, parts)


def test_sentences_end_in_many_scripts() -> None:
    """Where there is no space behind the sign, too."""
    for text in ("我很好。你呢？他也好。", "यह घर है। वह नगर है।", "هل أنت هنا؟ نعم."):
        first, *_ = split_long(text, partial(_is_short, len(text) - 1))
        assert first[-1] in "。？।؟"


@given(st.text(alphabet="ab .!?", max_size=60), st.integers(1, 12))
def test_long_text_is_split_without_loss(text: str, limit: int) -> None:
    """Every part fits, and together they say what the text says."""
    parts = split_long(clean_line(text), lambda part: len(part) <= limit)
    assert all(len(part) <= limit for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_long_text_is_split_between_sentences_first() -> None:
    """A text over the limit is cut at its sentence boundary."""
    assert split_long("One two. Three four five.", lambda part: len(part) <= 16) == ["One two.", "Three four five."]


@pytest.mark.parametrize("data", [gzip.compress(b"Hund\n"), b"Hund\rKatze\r"], ids=["gzip", "returns"])
def test_what_a_pipe_may_not_hold_is_told_to_its_reader(data: bytes) -> None:
    """Another thread reads it; the one that waits hears of it and does not wait on."""
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream, pytest.raises(DataError, match="standard input: "):
        list(chunks(stream))


@given(st.lists(st.text(), max_size=20), st.booleans(), st.integers(1, 40))
def test_mapped_lines_are_those_that_are_read(lines: list[str], ended: bool, size: int) -> None:
    """Whatever they hold, a mark of byte order or no last line feed included, and in parts of any size."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "text"
        patch.setattr("nmt.corpus.lazy_lines._BYTES", size)
        path.write_bytes("\n".join([*lines, ""] if ended else lines).encode("utf-8", "replace"))
        try:
            expected = read_lines(path)
        except DataError:  # it looks like an archive, or its lines end with carriage returns alone
            assume(False)
        found = mapped_lines(path)
        assert [*found] == [found[row] for row in range(len(found))] == expected
        assert [*found[1:][:-2]] == expected[1:][:-2]
        assert [found[-1 - row] for row in range(len(found))] == expected[::-1]


def test_a_missing_file_of_mapped_lines_is_an_error(tmp_path: Path) -> None:
    """And so is a line that is not UTF-8, which is named, when it is asked for."""
    with pytest.raises(DataError, match=r"none: No such file"):
        mapped_lines(tmp_path / "none")
    (tmp_path / "text").write_bytes(b"a\n\xff\n")
    with pytest.raises(DataError, match=r"text, line 2: byte 1"):
        mapped_lines(tmp_path / "text")[1]
