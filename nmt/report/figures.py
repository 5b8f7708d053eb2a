"""Pictures of the report page, as SVG in the colours of the surrounding text."""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.figure import Figure
from torch import Tensor

from nmt.report.heat_map import figure_over_line
from nmt.translation.attention import Picture

_INK = "#010203"  # placeholder for the colour of the surrounding text


def seen_line(target: Sequence[str], seen: Picture, columns: Tensor) -> str:
    """Draws where a model looked on a line of pixels, as an SVG element; see `figure_over_line`."""
    with _colours_of_text():
        return _element(figure_over_line(target, seen, columns))


@contextmanager
def _colours_of_text() -> Generator[None]:
    """Draws lines and text in a colour that becomes that of the surrounding text."""
    with mpl.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "nmt",
            "text.color": _INK,
            "axes.labelcolor": _INK,
            "axes.edgecolor": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "font.size": 10,
        }
    ):
        yield


def _element(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(stream.getvalue())


def _inline(svg: str) -> str:
    """Returns only the SVG element, without a size, so that the page can scale it."""
    element = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.S)
    head, rest = element.split(">", 1)
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    return f'{head} role="img">{rest}'
