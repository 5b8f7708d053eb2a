r"""Reads lines of text from bytes, split only at `\\n`, so that line numbers of parallel files agree."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import IO

from nmt.corpus.opening import explained, open_text, packing
from nmt.corpus.words import is_mark
from nmt.errors import DataError, TextError

# Control characters, and line separators that only some programs honour. A no-break space is kept.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_TAB_TOO = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which no encoding can write
# After signs that only end sentences no space is needed: Chinese and Japanese have none there.
_SENTENCE_END = re.compile("[.!?…؟۔։][\"'”’»)]*\\s+|[。！？｡।॥။។།።፧]+[\"'”’»)」』】]*\\s*")
_SPACE = re.compile(r"\s+")
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")


def split_lines(stream: IO[bytes] | Iterable[bytes], where: str = "standard input") -> Iterator[bytes]:
    r"""Yields the lines of a binary stream without `\n`, one trailing `\r` and, on the first line, a byte-order mark.

    Raises:
        DataError: the stream cannot be read, is a damaged archive, starts like compressed data or UTF-16, or its lines end
            with carriage returns alone.
    """
    with explained(where):
        for number, line in enumerate(stream):
            text = line.removesuffix(b"\n").removesuffix(b"\r")
            if number == 0:
                _refuse_other_formats(line, where)
                if not line.endswith(b"\n"):
                    _refuse_returns(line, where)
            yield text.removeprefix(_BOM) if number == 0 else text


def file_lines(path: Path) -> Iterator[bytes]:
    """Yields the lines of a text file, unpacked and in UTF-8 as `open_text` does it; see `split_lines`.

    Raises:
        DataError: as in `open_text` and `split_lines`, or the lines end with carriage returns alone.
    """
    count, line = 0, b""
    with open_text(path) as stream:
        for line in split_lines(stream, str(path)):
            count += 1
            yield line
    if count == 1:
        _refuse_returns(line, str(path))


def _refuse_other_formats(first: bytes, where: str) -> None:
    """Refuses compressed data and text in UTF-16 or UTF-32, by the first line."""
    if kind := packing(first):
        raise DataError(f"{where}: is packed by {kind}; unpack it first")
    if first.startswith(_UTF16) or _looks_like_utf16(first[:1000]):
        raise DataError(f"{where}: looks like UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8")


def _refuse_returns(only: bytes, where: str) -> None:
    """Refuses text whose only line contains more lines, ended by carriage returns alone."""
    if b"\r" in only.strip(b"\r"):
        raise DataError(f"{where}: its lines end with carriage returns alone; convert it: tr '\\r' '\\n'")


def _looks_like_utf16(start: bytes) -> bool:
    """Whether text without a byte-order mark has zeros at many even places and no odd ones, or the other way round."""
    zeros = [start[parity::2].count(0) for parity in (0, 1)]
    return min(zeros) == 0 and max(zeros) >= 4 and 4 * max(zeros) > len(start)


def decode_strict(line: bytes, where: str) -> str:
    """Decodes a line.

    Raises:
        DataError: the line is not UTF-8; names the place and the byte.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} (0x{line[error.start]:02x})"
        raise DataError(f"{where}: {byte} is not valid UTF-8; convert the file") from None


def decode_replacing(line: bytes) -> tuple[str, bool]:
    """Decodes a line and replaces invalid UTF-8; also returns whether there was any."""
    try:
        return line.decode("utf-8"), False
    except UnicodeDecodeError:
        return line.decode("utf-8", errors="replace"), True


def has_control(text: str) -> bool:
    """Whether a line contains control characters or stray line separators."""
    return not text.isprintable() and _CONTROL.search(text) is not None


def clean_line(text: str) -> str:
    """Replaces control characters and stray line separators by spaces, and strips the line.

    Half of a surrogate pair, which cannot be written, becomes the replacement character.
    """
    return without_control(text).strip()


def without_control(text: str) -> str:
    """Cleans a line as `clean_line` does, without stripping it."""
    if text.isprintable():  # true for most lines, and ten times as fast
        return text
    return _SURROGATE.sub("\ufffd", _TAB_TOO.sub(" ", text))


def visible(text: str) -> str:
    r"""Escapes characters that a terminal would obey or cannot show, as in \\u001b; tabs and line breaks stay.

    These are control characters, marks of writing direction, and halves of surrogate pairs, which occur in file names that
    are not UTF-8. Inside a JSON string the escapes mean the same characters.
    """
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def visible_line(text: str) -> str:
    """Escapes a text as `visible` does, and line breaks and tabs too, so that it stays on one line."""
    return visible(text).replace("\n", "\\u000a").replace("\t", "\\u0009")


def split_long(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Splits text near its middle until the parts fit: after a sentence, otherwise between words, otherwise between letters."""
    if len(text) < 2 or fits(text):
        return [text]
    middle = len(text) // 2
    for pattern in (_SENTENCE_END, _SPACE):
        places = [match.end() for match in pattern.finditer(text) if 0 < match.end() < len(text)]
        if places:
            middle = min(places, key=lambda place: abs(place - middle))
            break
    else:
        near = (middle + step * side for step in range(middle + 1) for side in (1, -1))
        middle = next((place for place in near if 0 < place < len(text) and _is_between_letters(text, place)), middle)
    return [part for half in (text[:middle], text[middle:]) for part in split_long(half.strip(), fits) if part]


def _is_between_letters(text: str, place: int) -> bool:
    return not is_mark(text[place]) and text[place - 1] != "\u200d"


def text_lines(given: object) -> list[str]:
    """Returns one sentence, or any number of them, as a list.

    Raises:
        TextError: an item is not text.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given, Iterable) and not isinstance(given, (bytes, bytearray, Mapping, Set)):
        lines = list[object](given)
        texts = [line for line in lines if isinstance(line, str)]
        if len(texts) < len(lines):
            place, wrong = next((place, line) for place, line in enumerate(lines) if not isinstance(line, str))
            raise TextError(f"each line must be text (str); number {place} is {type(wrong).__name__}")
        return texts
    raise TextError(f"text must be a sentence (str) or a list of them, got {type(given).__name__}")


def text_line(given: object) -> str:
    """Returns one sentence, as it was given or as the only one of a list.

    Raises:
        TextError: it is not text, or not one line.
    """
    lines = text_lines(given)
    if len(lines) != 1:
        raise TextError(f"one sentence (str) is needed, got {len(lines)}")
    return lines[0]


def read_lines(path: Path) -> list[str]:
    """Reads the cleaned lines of a UTF-8 file.

    Raises:
        DataError: the file is missing or not UTF-8.
    """
    return [
        clean_line(decode_strict(line, f"{path}, line {number}")) for number, line in enumerate(file_lines(path), 1)
    ]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    r"""Writes lines as UTF-8, each ended by `\\n`."""
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))


def beginning(text: str, most: int) -> str:
    """Returns a text of at most so many characters; one that is longer is cut, and ends in an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"
