"""Attention between the words of two lines, as a picture or as blocks in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from rich.cells import cell_len
from torch import Tensor

from nmt.corpus.lines import beginning
from nmt.report.pictures import plain, save_picture
from nmt.translation.attention import Picture

_LONGEST = 32  # letters of a word in a picture
_SHADES = " \u2591\u2592\u2593\u2588"


def plot_attention(path: Path, title: str, source: Sequence[str], target: Sequence[str], weights: Tensor) -> str:
    """Draws weights (J, I) with source words across and target words down; the file's suffix chooses the format.

    Returns:
        The letters that no font of this computer has.
    """
    source, target = [_label(word) for word in source], [_label(word) for word in target]
    across, down = (max(map(len, words)) for words in (source, target))
    size = (1.4 + 0.08 * down + 0.36 * len(source), 1.1 + 0.06 * across + 0.3 * len(target))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(weights.numpy(), cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(range(len(source)), source, rotation=60, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(target)), target)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xticks([place - 0.5 for place in range(1, len(source))], minor=True)
    axes.set_yticks([place - 0.5 for place in range(1, len(target))], minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    figure.colorbar(image, ax=axes, label="attention", shrink=0.8)
    axes.set_xlabel(plain(title))
    return save_picture(figure, path)


def plot_over_line(path: Path, title: str, target: Sequence[str], seen: Picture, columns: Tensor) -> str:
    """Draws the line of pixels that a model saw once for each target word, coloured where it looked.

    Args:
        path: of the picture; its suffix chooses the format.
        title: shown below.
        target: J + 1 words, the end included.
        seen: the line; where the model has spatial attention, its weights are shown last.
        columns: (J + 1, W) attention to each column of pixels.

    Returns:
        The letters that no font of this computer has.
    """
    figure = figure_over_line(target, seen, columns)
    figure.supxlabel(plain(title), fontsize="medium")
    return save_picture(figure, path)


def figure_over_line(target: Sequence[str], seen: Picture, columns: Tensor) -> Figure:
    """Returns the figure of `plot_over_line`, without a title."""
    height, width = seen.pixels.shape
    heats = [(row / row.max()).expand(height, -1) for row in columns]
    rows = list(zip(map(_label, target), heats, strict=True))
    rows += [("places", seen.places)] if seen.places is not None else []
    labels = 0.3 + 0.1 * max(len(word) for word, _ in rows)  # inches
    size = (labels + 0.02 * width + 0.2, 0.5 + 0.36 * len(rows))
    figure = Figure(figsize=size)
    figure.subplots_adjust(labels / size[0], 0.4 / size[1], 1 - 0.1 / size[0], 1 - 0.1 / size[1], hspace=0.25)
    ink, whole = torch.zeros(height, width, 4), (0, width, height, 0)
    ink[..., 3] = seen.pixels
    for axes, (word, heat) in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        axes.imshow(heat.float().numpy(), cmap="Oranges", vmin=0.0, vmax=1.6, aspect="auto", extent=whole)
        axes.imshow(ink.numpy(), aspect="auto", extent=whole, interpolation="nearest")
        axes.set_yticks([height / 2], [word])
        axes.set_xticks([])
        axes.tick_params(length=0)
    return figure


def blocks(source: Sequence[str], target: Sequence[str], weights: Tensor) -> str:
    """Draws weights (J, I) as shades, a row per target word, with a list of source words over the columns."""
    width = max(cell_len(word) for word in target)
    rows = [
        " " * (width - cell_len(word)) + word + " " + "".join(_shade(float(weight)) * 2 for weight in row)
        for word, row in zip(target, weights, strict=True)
    ]
    heads = [
        " " * (width + 1) + "\u2502 " * column + "\u250c\u2500" + " " + word
        for column, word in reversed(list(enumerate(source)))
    ]
    return "\n".join([*reversed(heads), *rows])


def _label(word: str) -> str:
    """Returns a word for a picture; what a model repeats without end is cut."""
    return plain(beginning(word, _LONGEST))


def _shade(weight: float) -> str:
    return _SHADES[min(len(_SHADES) - 1, round(weight * (len(_SHADES) - 1) + 0.25))]
