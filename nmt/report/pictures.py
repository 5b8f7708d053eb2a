"""What all pictures share: their formats, files that appear whole, and names that stand in them as they are."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from nmt.corpus.lines import visible_line
from nmt.errors import ConfigError
from nmt.runtime.atomic import atomic_write

_NEED_MORE = {"pgf", "raw", "rgba"}  # LaTeX, or a program that is told the size

_LARGEST = 16_000  # pixels of a side; the attention of a thousand words would need 10 GB of memory

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # told apart by colour-blind readers too
FEWEST = 10
"""Sentences of a bucket that is shown."""


def picture_format(path: Path) -> str:
    """The format that a file's suffix chooses.

    Raises:
        ConfigError: it has no suffix, or one that stands for no format.
    """
    known = sorted(set(Figure().canvas.get_supported_filetypes()) - _NEED_MORE)
    found = path.suffix.removeprefix(".").lower()
    if found not in known:
        raise ConfigError(
            f"{path}: the suffix of a picture must be one of {', '.join(known)}, got {path.suffix or 'none'}"
        )
    return found


def save_picture(figure: Figure, path: Path) -> None:
    """Writes a figure in the format of the file's suffix, whole or not at all."""
    stream = io.BytesIO()
    fitting = _LARGEST / float(max(figure.get_size_inches()))
    figure.savefig(stream, format=picture_format(path), dpi=min(150, fitting))
    atomic_write(path, stream.getvalue())


def plain(text: str) -> str:
    """Text that matplotlib shows as it is: no mathematics between dollars, and nothing that a font has no sign for."""
    return visible_line(text).replace("$", r"\$")


def name_lines(legend: Legend, names: Sequence[str]) -> None:
    """Names the lines of a legend; as labels of their own matplotlib leaves those out that begin with an underscore."""
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(plain(name))


def placeholders(lines: Sequence[Artist]) -> tuple[list[Artist], list[str]]:
    """The lines, and a label for each that `name_lines` replaces."""
    return list(lines), ["name"] * len(lines)
