"""Attention between the words of two lines, as a picture or as blocks in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from rich.cells import cell_len
from torch import Tensor

from nmt.report.pictures import plain, save_picture

_SHADES = " \u2591\u2592\u2593\u2588"


def plot_attention(path: Path, title: str, source: Sequence[str], target: Sequence[str], weights: Tensor) -> None:
    """Draws weights (J, I) with source words across and target words down; the file's suffix chooses the format."""
    figure = Figure(figsize=(2.2 + 0.36 * len(source), 1.6 + 0.3 * len(target)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(weights.numpy(), cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(
        range(len(source)), [plain(word) for word in source], rotation=60, ha="left", rotation_mode="anchor"
    )
    axes.set_yticks(range(len(target)), [plain(word) for word in target])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xticks([place - 0.5 for place in range(1, len(source))], minor=True)
    axes.set_yticks([place - 0.5 for place in range(1, len(target))], minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    figure.colorbar(image, ax=axes, label="attention", shrink=0.8)
    axes.set_xlabel(plain(title))
    save_picture(figure, path)


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


def _shade(weight: float) -> str:
    return _SHADES[min(len(_SHADES) - 1, round(weight * (len(_SHADES) - 1) + 0.25))]
