"""Lines: as many out as in, whatever they hold."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.errors import DataError
from nmt.text import clean_line, decode_strict, has_control, read_lines, split_lines, split_long, write_lines


@given(st.binary())
def test_lines_are_split_on_line_feeds_alone(data: bytes) -> None:
    """As many lines as line feeds, and one more if something stands after the last."""
    lines = list(split_lines(io.BytesIO(data)))
    assert len(lines) == data.count(b"\n") + (not data.endswith(b"\n") and bool(data))


@given(st.text())
def test_a_clean_line_is_one_line(text: str) -> None:
    """No program that reads it will see two."""
    cleaned = clean_line(text)
    assert not has_control(cleaned)
    assert len(cleaned.splitlines()) <= 1
    assert clean_line(cleaned) == cleaned


def test_no_break_spaces_stay() -> None:
    assert clean_line("a\u00a0b\u202f!") == "a\u00a0b\u202f!"


def test_carriage_return_and_byte_order_mark_go() -> None:
    assert list(split_lines(io.BytesIO(b"\xef\xbb\xbfa\r\n\xef\xbb\xbfb\r\r\n"))) == [b"a", b"\xef\xbb\xbfb\r"]


def test_bad_utf8_names_the_place() -> None:
    with pytest.raises(DataError, match=r"x, line 3: byte 2 \(0xff\)"):
        decode_strict(b"a\xff", "x, line 3")


def test_files_are_read_as_written(tmp_path: Path) -> None:
    write_lines(tmp_path / "a", ["ä", "", "b"])
    assert read_lines(tmp_path / "a") == ["ä", "", "b"]
    with pytest.raises(DataError, match="No such file"):
        read_lines(tmp_path / "missing")


@given(st.text(alphabet="ab .!?", max_size=60), st.integers(1, 12))
def test_long_text_is_split_without_loss(text: str, limit: int) -> None:
    """Every part fits, and together they say what the text says."""
    parts = split_long(clean_line(text), lambda part: len(part) <= limit)
    assert all(len(part) <= limit for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_long_text_is_split_between_sentences_first() -> None:
    assert split_long("One two. Three four five.", lambda part: len(part) <= 16) == ["One two.", "Three four five."]
