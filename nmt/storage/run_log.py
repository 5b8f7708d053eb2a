"""The log of a run, a JSON object on each line, and the names of its files. Whoever only reads it needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from nmt.errors import CheckpointError
from nmt.runtime.untrusted import parse_object, read_regular

RECIPE = "recipe.toml"
LOG = "log.jsonl"
SAMPLES = "samples.jsonl"
CARD = "card.json"
"""Name of the card of a bundle."""
UNPLANNED = 1_000_000_000
"""Planned updates of a budgeted training until its speed is known."""

Entry = dict[str, Any]
_LONGEST_LOG = 2**28  # bytes
_LARGEST = 10**18  # no count of a training has more digits, and floats hold it
_NUMBERS = (
    *("loss", "bleu", "perplexity", "learning_rate", "gradient_norm", "tokens_per_second"),
    *("seconds", "updates", "padding"),
)


def parse_entry(line: bytes) -> Entry:
    """Parses a line of a log.

    Raises:
        ValueError: it is incomplete, or a kind, a step or a number is missing or of the wrong type.
    """
    if not line.endswith(b"\n"):
        raise ValueError("an incomplete line")
    entry = parse_object(line)
    numbers = [entry.get("step"), *(entry[key] for key in _NUMBERS if key in entry)]
    known = isinstance(entry.get("kind"), str) and type(entry.get("step")) is int
    if not known or not all(type(number) is float or _is_count(number) for number in numbers):
        raise ValueError("no entry of a log")
    return entry


def read_log(path: Path) -> Iterator[tuple[bytes, Entry]]:
    """Yields the complete lines of a log with their entries; none if there is no log.

    Raises:
        CheckpointError: the log cannot be read.
    """
    if not path.exists():
        return
    try:
        lines = read_regular(path, _LONGEST_LOG).splitlines(keepends=True)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    for line in lines:
        with suppress(ValueError):
            yield line, parse_entry(line)


def _is_count(number: object) -> bool:
    return type(number) is int and abs(number) < _LARGEST
