"""Helpers of all plots: formats, files that appear complete, and names shown literally."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from nmt.corpus.lines import visible_line
from nmt.errors import ConfigError
from nmt.runtime.atomic import atomic_write

_NEED_MORE = {"pgf", "raw", "rgba"}  # they need LaTeX, or a program that is told the size

_LARGEST = 16_000  # largest side in pixels; the attention of a thousand words would need 10 GB of memory

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # distinct for colour-blind readers too
FEWEST = 10
"""Least number of sentences in a bucket that is shown."""


def picture_format(path: Path) -> str:
    """Returns the format for a file's suffix.

    Raises:
        ConfigError: there is no suffix, or it names no format.
    """
    known = sorted(set(Figure().canvas.get_supported_filetypes()) - _NEED_MORE)
    found = path.suffix.removeprefix(".").lower()
    if found not in known:
        raise ConfigError(
            f"{path}: the suffix of a picture must be one of {', '.join(known)}, got {path.suffix or 'none'}"
        )
    return found


def save_picture(figure: Figure, path: Path) -> str:
    """Writes a figure in the format of the file's suffix, complete or not at all.

    Returns:
        The letters that no font of this computer has; boxes stand for them.
    """
    missing = _choose_fonts(figure)
    stream = io.BytesIO()
    fitting = _LARGEST / float(max(figure.get_size_inches()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the caller says it once
        figure.savefig(stream, format=picture_format(path), dpi=min(150, fitting))
    atomic_write(path, stream.getvalue())
    return missing


def _choose_fonts(figure: Figure) -> str:
    """Lets fonts that the usual one lacks letters of, such as Chinese ones, stand in; returns the letters that none has."""
    texts = figure.findobj(Text)
    missing = {letter for text in texts for letter in text.get_text() if letter.isprintable() and not letter.isspace()}
    usual = font_manager.findfont("DejaVu Sans")
    missing -= _letters(usual)
    families = ["DejaVu Sans"]
    for entry in font_manager.fontManager.ttflist if missing else ():
        upright = entry.style == "normal" and "Last Resort" not in entry.name  # that one has boxes for all
        if upright and (found := missing & _letters(entry.fname)):
            families.append(entry.name)
            missing -= found
    if len(families) > 1:
        for text in texts:
            text.set_fontfamily(families)
    return "".join(sorted(missing))


def _letters(font: str) -> set[str]:
    try:
        return {chr(code) for code in font_manager.get_font(font).get_charmap()}
    except (OSError, RuntimeError):  # a damaged font, or one of another kind
        return set()


def plain(text: str) -> str:
    """Escapes text for matplotlib: no mathematics between dollars, and no characters that fonts lack."""
    return visible_line(text).replace("$", r"\$")


def name_lines(legend: Legend, names: Sequence[str]) -> None:
    """Sets the names in a legend; as plain labels, matplotlib would drop names that begin with an underscore."""
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(plain(name))


def placeholders(lines: Sequence[Artist]) -> tuple[list[Artist], list[str]]:
    """Returns the lines, and a placeholder label for each, which `name_lines` replaces."""
    return list(lines), ["name"] * len(lines)
