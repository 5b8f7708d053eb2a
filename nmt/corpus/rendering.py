"""Draws lines of text as strips of grey pixels, for models that read pictures of text.

A line is drawn word by word, each word at a whole pixel, so that a word looks the same wherever it stands and has to be
drawn only once. A line with letters written from right to left is drawn as a whole, as its order is that of the line.

A picture must not depend on the computer. So words are laid out by Pillow itself, which needs nothing else. Only scripts whose
letters join or stack take the library Raqm, which not every computer has; without it they count as missing from the font.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, features

from nmt.config.model import ModelConfig
from nmt.config.paths import FONT, real_path
from nmt.errors import ConfigError
from nmt.runtime.atomic import atomic_write
from nmt.runtime.untrusted import read_regular

Pixels = npt.NDArray[np.uint8]

MARGIN = 1
"""Empty columns before the first word."""
_REMEMBERED = 2**17  # words whose pictures are kept, some 50 MB
_RIGHT_TO_LEFT = ("R", "AL", "AN")
_LARGEST = 256_000_000  # bytes of a font file; those of Chinese have some 20 million
_WIDEST = 2**15  # pixels of one word; FreeType draws no picture of any width
_CONTROL = dict.fromkeys(
    (*range(32), *range(127, 160), 0x2028, 0x2029), 0xFFFD
)  # no font has them, and the layout fails on some
_JOINED = ((0x0900, 0x109F), (0x1100, 0x11FF), (0x1700, 0x18AF))  # scripts of South Asia; parts of Hangul; Mongolian
_MARKS = ("Mn", "Mc", "Me")
_PROBE = tuple(map(chr, (*range(33, 127), *range(0xC0, 0x180))))
_INVISIBLE = ("Cc", "Cf", "Mn", "Me", "Zs", "Zl", "Zp")  # categories of characters that need no glyph of their own

# B lines, W columns of a line, S slices of a line, N columns of all lines, H height


@dataclass(frozen=True)
class Strips:
    """Pictures of lines, side by side: 0 is paper, 255 is ink."""

    pixels: Pixels
    """(N, H) columns of all lines, each from top to bottom."""
    firsts: npt.NDArray[np.int64]
    """(B + 1,) the first column of each line, and the total."""

    @property
    def widths(self) -> npt.NDArray[np.int64]:
        """(B,) width of each line in pixels, at least 1."""
        return np.diff(self.firsts)

    def slices(self, window: int, stride: int) -> npt.NDArray[np.int64]:
        """Returns the number of slices of each line (B,): the last one reaches its end."""
        return slice_count(self.widths, window, stride)

    def cut(self, window: int, stride: int) -> Pixels:
        """Returns the slices of all lines, one line after the other: (slices, window, H). Beyond a line there is paper."""
        line, number = slice_numbers(self.slices(window, stride))
        columns = self.firsts[line][:, None] + number[:, None] * stride + np.arange(window)  # (slices, window)
        paper = len(self.pixels)
        columns = np.where(columns < self.firsts[line + 1][:, None], columns, paper)
        return np.concatenate([self.pixels, np.zeros_like(self.pixels[:1])])[columns]

    def padded(self, width: int) -> Pixels:
        """Returns the lines as a batch (B, width, H), with paper beyond each line."""
        found = np.zeros((len(self.widths), width, self.pixels.shape[1]), np.uint8)
        row = np.repeat(np.arange(len(self.widths)), self.widths)
        found[row, np.arange(len(row)) - self.firsts[row]] = self.pixels
        return found


def slice_count(widths: npt.NDArray[np.int64], window: int, stride: int) -> npt.NDArray[np.int64]:
    """Returns how many slices cover lines of these widths in pixels."""
    return 1 + np.maximum(0, -(-(widths - window) // stride))


def slice_numbers(counts: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns the line of each slice, and its number in the line, for lines of so many slices (B,): each (slices,)."""
    line = np.repeat(np.arange(len(counts)), counts)
    return line, np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)


class Renderer:
    """Draws text with one font at one height."""

    def __init__(self, content: bytes, height: int, name: str, grid: int = 1) -> None:
        """Takes the content of a font file, the height of a line, and a name for errors; words begin `grid` pixels apart.

        The font is scaled so that a line from its highest to its lowest letter fits into the height.

        Raises:
            ConfigError: this is no font file.
        """
        self.content, self.height, self.name, self.grid = content, height, name, grid
        self.font = opened_font(content, height, name, ImageFont.Layout.BASIC)
        self._strip = lru_cache(_REMEMBERED)(self._drawn)

    def strips(self, lines: Sequence[str]) -> Strips:
        """Draws lines of text."""
        drawn = [self.line(line) for line in lines]
        firsts = np.cumsum([0, *map(len, drawn)])
        return Strips(np.concatenate(drawn) if drawn else np.zeros((0, self.height), np.uint8), firsts)

    def line(self, text: str) -> Pixels:
        """Draws one line: (W, H)."""
        parts, place = [np.zeros((MARGIN, self.height), np.uint8)], MARGIN
        for number, word in enumerate(self._units(text)):
            drawn, gap = self._strip(word), self._gap(place) if number else 0
            parts += [np.zeros((gap, self.height), np.uint8), drawn]
            place += gap + len(drawn)
        return np.concatenate(parts)

    def edges(self, text: str) -> npt.NDArray[np.int64]:
        """Returns the column where each character of a line begins, and the width of the line: (characters + 1,).

        In a line from right to left they are where the characters would begin from left to right, mirrored.
        """
        edges, place, units = list[int](), MARGIN, self._units(text)
        for number, word in enumerate(units):
            if number:
                edges.append(place)
                place += self._gap(place)
            width = len(self._strip(word))
            shown = word.translate(_CONTROL)
            font = self._font_for(word)
            inner = np.array([min(round(font.getlength(shown[:count])), width) for count in range(len(word))], int)
            edges += (place + (width - inner if _is_turned(word) else inner)).tolist()
            place += width
        return np.array([*edges, place], dtype=np.int64)

    def missing(self, text: str) -> set[str]:
        """Returns the characters of a text for which the font has no glyph, or which nothing here can join or stack."""
        lacking = {letter for letter in set(text) - self._known if unicodedata.category(letter) not in _INVISIBLE}
        return lacking if self._shaper else lacking | set(filter(is_shaped, set(text)))

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the pictures that this font and this computer's libraries make."""
        return hashlib.sha256(b"".join(self._drawn(word).tobytes() for word in _PROBE)).hexdigest()[:16]

    def _units(self, text: str) -> list[str]:
        """Splits a line into what is drawn at once: words, or all of a line that has letters from right to left."""
        return [text] if _is_turned(text) else text.split(" ")

    def _gap(self, place: int) -> int:
        """Returns the width of a space that begins at a column: at least the font's, then up to the grid."""
        return self._space + (MARGIN - place - self._space) % self.grid

    def _font_for(self, word: str) -> ImageFont.FreeTypeFont:
        return self._shaper or self.font if is_shaped(word) else self.font

    @cached_property
    def _shaper(self) -> ImageFont.FreeTypeFont | None:
        """The font with the layout that joins letters (Arabic) and stacks marks (Thai); None: Raqm is missing."""
        if not features.check("raqm"):
            return None
        return opened_font(self.content, self.height, self.name, ImageFont.Layout.RAQM)

    @cached_property
    def _space(self) -> int:
        return max(1, round(self.font.getlength(" ")))

    @cached_property
    def _known(self) -> frozenset[str]:
        """The characters that the font has a glyph for."""
        import io

        from matplotlib.ft2font import FT2Font

        return frozenset(map(chr, FT2Font(io.BytesIO(self.content)).get_charmap()))

    def _drawn(self, word: str) -> Pixels:
        """Draws a word: (W, H)."""
        font, word = self._font_for(word), word.translate(_CONTROL)
        width = min(max(1, round(font.getlength(word))), _WIDEST)
        picture = Image.new("L", (width, self.height))
        ImageDraw.Draw(picture).text((0, font.getmetrics()[0]), word, fill=255, font=font, anchor="ls")
        return np.ascontiguousarray(np.asarray(picture).T)


def opened_font(content: bytes, height: int, name: str, layout: ImageFont.Layout) -> ImageFont.FreeTypeFont:
    """Opens a font at the largest size whose lines fit into `height` pixels.

    Raises:
        ConfigError: this is no font file.
    """
    import io

    size = height
    while size > 1:
        try:
            font = ImageFont.truetype(io.BytesIO(content), size, layout_engine=layout)
        except OSError as error:
            raise ConfigError(f"model.font: {name} is no font ({error})") from None
        if sum(font.getmetrics()) <= height:
            return font
        size -= 1
    raise ConfigError(f"model.height = {height} is too small for {name}")


@cache
def renderer_of(font: str | None, height: int, grid: int = 1) -> Renderer:
    """Makes what draws with a font file at a height; models share it. None: DejaVu Sans, which comes with matplotlib.

    Raises:
        ConfigError: the file cannot be read, or is no font.
    """
    if font is None:
        import matplotlib

        path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    else:
        path = Path(font)
    return Renderer(_content(path), height, path.name, grid)


def save_font(model: ModelConfig, folder: Path) -> None:
    """Copies the font of a model that has one into the folder of its recipe."""
    if model.kind == "visual" and model.font is not None:
        atomic_write(folder / FONT, _content(Path(model.font)))


def same_font(one: str | None, other: str | None) -> bool:
    """Whether two font files have the same content; None is the default font."""
    if one is None or other is None:
        return one == other
    return _content(Path(one)) == _content(Path(other))


def _content(path: Path) -> bytes:
    """Reads a font file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return read_regular(real_path(path), _LARGEST)
    except OSError as error:
        raise ConfigError(f"model.font: {path}: {error.strerror}") from None


def is_shaped(text: str) -> bool:
    """Whether a text has letters that join or stack, or are written from right to left."""
    return not text.isascii() and (
        _is_turned(text)
        or any(unicodedata.category(letter) in _MARKS for letter in text)
        or any(first <= ord(letter) <= last for letter in text for first, last in _JOINED)
    )


def _is_turned(text: str) -> bool:
    """Whether a text has letters that are written from right to left."""
    return not text.isascii() and any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in text)
