"""Figures, one JSON object per line in one file, each with its prediction; and a short summary."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from nmt.bench.gpu.predictions import PREDICTIONS

_WIDTH = 110
_ENDINGS = ("failed", "killed", "skipped")


@dataclass(frozen=True)
class Ledger:
    """A file that several processes append lines to."""

    path: Path
    step: str
    """The step of these figures."""

    def write(self, figure: str, value: float | str | None, unit: str, more: Mapping[str, Any] | None = None) -> None:
        """Adds a figure at once, as the step may be killed later."""
        row: dict[str, Any] = {"step": self.step, "figure": figure, "value": _short(value), "unit": unit}
        predicted = PREDICTIONS.get(f"{self.step}: {figure}")
        if predicted is not None:
            row["predicted"] = predicted
        self._add({**row, **(more or {})})

    def end(self, how: str, seconds: float, why: str = "") -> None:
        """Records how a step ended: done, failed, killed or skipped."""
        self._add({"step": self.step, "ended": how, "seconds": round(seconds, 1), **({"why": why} if why else {})})

    def _add(self, row: dict[str, Any]) -> None:
        line = json.dumps({**row, "time": round(time(), 1)}, ensure_ascii=False) + "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(file, line.encode())  # in one write, even if another process writes too
        finally:
            os.close(file)


def read_figures(path: Path) -> list[dict[str, Any]]:
    """Reads the rows of a ledger; none if there is no file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def summary(rows: list[dict[str, Any]], lines: int = 40) -> list[str]:
    """Summarises in at most `lines` lines: failures, predicted figures, then others, with the last value of each."""
    ended = [row for row in rows if "ended" in row]
    seconds = ", ".join(f"{row['step']} {row['seconds']:.0f}" for row in ended if row["ended"] == "done")
    shown = [f"seconds: {seconds}"[: 2 * _WIDTH]] if seconds else []
    shown += [
        f"{row['step']}: {row['ended']} {row.get('why', '')}"[:_WIDTH] for row in ended if row["ended"] in _ENDINGS
    ]
    figures = {(row["step"], row["figure"]): row for row in rows if "figure" in row}
    ordered = [row for row in figures.values() if "predicted" in row]
    ordered += [row for row in figures.values() if "predicted" not in row]
    shown += [_line(row)[:_WIDTH] for row in ordered]
    hidden = len(shown) - lines + 1
    return shown if hidden <= 1 else [*shown[: lines - 1], f"and {hidden} more in the file"]


def _line(row: dict[str, Any]) -> str:
    value, predicted = row["value"], row.get("predicted")
    text = f"{row['step']}: {row['figure']} {_readable(value)} {row['unit']}"
    if predicted is None:
        return text
    share = f", {value / predicted:.2f} of it" if isinstance(value, (int, float)) and predicted else ""
    return f"{text} (predicted {_readable(predicted)}{share})"


def _readable(value: object) -> str:
    if not isinstance(value, (int, float)):
        return str(value)
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _short(value: float | str | None) -> float | str | None:
    return float(f"{value:.5g}") if isinstance(value, float) else value
