"""The curves of trainings, and what is to be said about their health, from the entries of their logs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nmt.report.health import findings

_MOST = 400  # points of a curve: more than a screen can show

CURVES = (
    ("train", "loss", "training loss per token", False),
    ("validation", "loss", "validation loss per token", False),
    ("validation", "bleu", "validation BLEU (greedy)", True),
    ("train", "learning_rate", "learning rate", True),
    ("train", "gradient_norm", "gradient norm before clipping", True),
    ("train", "tokens_per_second", "target tokens per second", True),
)
"""Kind and key of an entry; what it is; whether its axis begins at 0."""

Log = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Chart:
    """Curves over updates or words; `chart.js` draws them."""

    title: str
    x: str
    series: dict[str, list[tuple[float, float]]]
    """Points by name."""
    zero: bool = False
    """Whether the vertical axis begins at 0, as it does for scores."""


def training_charts(logs: Mapping[str, Log]) -> list[Chart]:
    """Returns the curves of trainings by the name of the run, from the entries of their logs."""
    return [
        Chart(
            title,
            "updates",
            {
                name: thinned((entry["step"], entry[key]) for entry in log if entry["kind"] == kind and key in entry)
                for name, log in logs.items()
            },
            zero,
        )
        for kind, key, title, zero in CURVES
    ]


def found_in(logs: Mapping[str, Log]) -> list[dict[str, Any]]:
    """Returns what is to be said about the health of trainings, by run."""
    return [{"run": name, **asdict(finding)} for name, log in logs.items() for finding in findings(log)]


def thinned(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns at most some hundred points of a curve, the last one among them; what is not finite is left out."""
    kept = [(x, float(f"{y:.5g}")) for x, y in points if math.isfinite(y)]
    stride = -(-len(kept) // _MOST) or 1
    return kept[::-1][::stride][::-1]
