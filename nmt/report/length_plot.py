"""BLEU against source length, with a line and a bootstrap band per system (Bahdanau et al. 2015, figure 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nmt.report.pictures import COLOURS, FEWEST, name_lines, placeholders, plain, save_picture
from nmt.scoring.metrics import Bucket

_MARKERS = "osD^vP"
_LINES = ("-", "--", ":")
_MEASURES = {"bleu": "BLEU, 95 % bootstrap band", "accuracy": "percent of positions right, 95 % band"}


def plot_by_length(
    path: Path,
    title: str,
    systems: Mapping[str, Sequence[Bucket]],
    trained: int | None = None,
    measure: Literal["bleu", "accuracy"] = "bleu",
) -> None:
    """Draws the buckets of each system; the file's suffix chooses the format (.png, .svg, .pdf).

    Buckets of fewer than ten sentences are left out. With more than six systems only the first one, with which the others are
    compared, has a band.

    Args:
        path: file to write.
        title: title of the plot.
        systems: buckets by name.
        measure: the measure of the buckets.
        trained: longest source in the training data, in words; longer lengths are shaded.
    """
    crowded, bands = len(systems) > 4, len(systems) if len(systems) <= len(COLOURS) else 1
    figure = Figure(figsize=(9 if crowded else 7, 4.2), layout="constrained")
    axes = figure.subplots()
    for index, buckets in enumerate(systems.values()):
        shown = [bucket for bucket in buckets if bucket.sentences >= FEWEST]
        centres = [bucket.centre for bucket in shown]
        colour = COLOURS[index % len(COLOURS)]
        scores = [bucket.score for bucket in shown]
        line = _LINES[index // len(COLOURS) % len(_LINES)]
        marker = _MARKERS[index % len(_MARKERS)]
        axes.plot(centres, [score.value for score in scores], line, color=colour, marker=marker)
        if index < bands:
            low, high = [score.low for score in scores], [score.high for score in scores]
            axes.fill_between(centres, low, high, color=colour, alpha=0.18)
    right, top = axes.get_xlim()[1], min(100.0, axes.get_ylim()[1] * 1.05)
    label = _MEASURES[measure] + ("" if bands == len(systems) else f" of {plain(next(iter(systems)))}")
    axes.set(xlabel="source length (words)", ylabel=label, ylim=(0, top), title=plain(title))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if trained is not None and right > trained + 1:
        axes.axvspan(trained + 0.5, right, color="0.5", alpha=0.1, linewidth=0)
        axes.text(trained + 1, 0.97 * top, "longer than any training sentence", fontsize=8, color="0.35", va="top")
        axes.set_xlim(right=right)
    axes.grid(alpha=0.25)
    lines = placeholders(axes.get_lines())
    if crowded:
        legend = figure.legend(*lines, frameon=False, loc="outside right upper", fontsize=9)
    else:
        legend = axes.legend(*lines, frameon=False, loc="best")
    name_lines(legend, list(systems))
    save_picture(figure, path)
