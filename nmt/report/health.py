"""The health of a training, by the entries of its log: skipped updates, spikes, large gradients, padding, speed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

_LARGE = 10.0  # a gradient norm this many times its median
_SLOW = 0.5  # a speed this share of its median
_PADDED = 0.2  # a share of padding that costs noticeable time
_DIGITS = 12  # of an update; more are no number of ours
_ENOUGH = 5  # entries before a median says something


@dataclass(frozen=True)
class Finding:
    """A thing to know about a training."""

    step: int
    level: Literal["note", "warning"]
    kind: str
    """skipped, spike, damaged, gradient, speed, or padding"""
    text: str


def findings(log: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Returns what is unusual in a log, each kind once with its count, in the order of the updates."""
    entries = list(log)
    rows = [_padding(entries), *(_counted(entries, kind) for kind in ("skipped", "spike", "damaged"))]
    rows += [_large_gradient(entries), _slow(entries)]
    return sorted((row for row in rows if row is not None), key=lambda row: row.step)


_SAYS = {
    "skipped": "updates skipped, as the loss or a gradient was not finite",
    "spike": "updates with a loss far above the usual",
    "damaged": "checkpoints damaged, and the ones before taken",
}


def _counted(entries: list[Mapping[str, Any]], kind: str) -> Finding | None:
    steps = sorted(_step(entry) for entry in entries if entry["kind"] == kind)
    if not steps:
        return None
    return Finding(steps[-1], "warning", kind, f"{_SAYS[kind]}: {len(steps):,}, the last at update {steps[-1]:,}")


def _step(entry: Mapping[str, Any]) -> int:
    """Returns the update that an entry is about: a damaged checkpoint names it, as it was found before the training went on."""
    digits = str(entry.get("checkpoint", "")).rpartition("-")[2]
    return int(digits) if digits.isdecimal() and len(digits) < _DIGITS else int(entry["step"])


def _padding(entries: list[Mapping[str, Any]]) -> Finding | None:
    start = next((entry for entry in reversed(entries) if entry["kind"] == "start" and "padding" in entry), None)
    if start is None:
        return None
    level: Literal["note", "warning"] = "warning" if start["padding"] > _PADDED else "note"
    return Finding(start["step"], level, "padding", f"{start['padding']:.1%} of the positions in batches are padding")


def _large_gradient(entries: list[Mapping[str, Any]]) -> Finding | None:
    norms = _figures(entries, "gradient_norm")
    if len(norms) < _ENOUGH:
        return None
    usual = median(norms.values())
    step, norm = max(norms.items(), key=lambda item: item[1])
    if norm <= _LARGE * usual:
        return None
    return Finding(step, "warning", "gradient", f"gradient norm {norm:.1f} about update {step:,}, usually {usual:.2f}")


def _slow(entries: list[Mapping[str, Any]]) -> Finding | None:
    speeds = _figures(entries, "tokens_per_second")
    if len(speeds) < _ENOUGH:
        return None
    usual = median(speeds.values())
    slow = [step for step, speed in speeds.items() if speed < _SLOW * usual]
    if not slow:
        return None
    text = f"{len(slow):,} of {len(speeds):,} log entries are slower than half the usual {usual:,.0f} tokens/s"
    return Finding(slow[-1], "note", "speed", f"{text}: the machine was shared, or memory was short")


def _figures(entries: list[Mapping[str, Any]], key: str) -> dict[int, float]:
    return {entry["step"]: entry[key] for entry in entries if entry["kind"] == "train" and key in entry}
