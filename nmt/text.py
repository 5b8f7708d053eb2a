r"""Lines of text from bytes: split on `\\n` alone, so that line n of a file is line n of its translation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from nmt.errors import DataError

# Control characters and the line separators that only some programs honour. A no-break space stays what it is.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_TAB_TOO = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SENTENCE_END, _SPACE = re.compile(r"[.!?…。！？][\"'”’»)]*\s+"), re.compile(r"\s+")
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"


def split_lines(stream: IO[bytes] | Iterable[bytes]) -> Iterator[bytes]:
    r"""Lines of a binary stream without their `\\n`, one trailing `\\r` and, on the first, a byte-order mark."""
    for number, line in enumerate(stream):
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        yield text.removeprefix(_BOM) if number == 0 else text


def decode_strict(line: bytes, where: str) -> str:
    """Text of a line.

    Raises:
        DataError: the line is not UTF-8; says where and which byte.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} (0x{line[error.start]:02x})"
        raise DataError(f"{where}: {byte} is not valid UTF-8; convert the file") from None


def has_control(text: str) -> bool:
    """Whether a line holds control characters or stray line separators."""
    return _CONTROL.search(text) is not None


def clean_line(text: str) -> str:
    """The line with control characters and stray line separators turned into spaces, and outer white space gone."""
    return _TAB_TOO.sub(" ", text).strip()


def visible(text: str) -> str:
    r"""The text with what a terminal would obey, or cannot show, as escapes such as \\u001b; tabs and line breaks stay.

    These are control characters, those that turn the direction of writing, and halves of surrogate pairs, which stand in
    names of files that are not UTF-8. In a JSON string the escapes mean the same characters.
    """
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def visible_line(text: str) -> str:
    """The text as `visible` shows it, on one line: line breaks and tabs are escapes too."""
    return visible(text).replace("\n", "\\u000a").replace("\t", "\\u0009")


def split_long(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The text in parts that fit, halved near its middle: after the end of a sentence, else between words, else anywhere."""
    if len(text) < 2 or fits(text):
        return [text]
    middle = len(text) // 2
    for pattern in (_SENTENCE_END, _SPACE):
        places = [match.end() for match in pattern.finditer(text) if 0 < match.end() < len(text)]
        if places:
            middle = min(places, key=lambda place: abs(place - middle))
            break
    return [part for half in (text[:middle], text[middle:]) for part in split_long(half.strip(), fits) if part]


def read_lines(path: Path) -> list[str]:
    """Cleaned lines of a UTF-8 file.

    Raises:
        DataError: the file is missing or a line is not UTF-8.
    """
    try:
        with path.open("rb") as stream:
            return [
                clean_line(decode_strict(line, f"{path}, line {number}"))
                for number, line in enumerate(split_lines(stream), 1)
            ]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def write_lines(path: Path, lines: Iterable[str]) -> None:
    r"""Writes lines as UTF-8, each ended by one `\\n`."""
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
