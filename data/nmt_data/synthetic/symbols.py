"""Copy, reverse and sort: sequences of letters, on which a model must carry every symbol across."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

Task = Literal["copy", "reverse", "sort"]

_SYMBOLS = "abcdefghijklmnopqrstuvwxyz"
_SIZES = {"train": 20_000, "valid": 500, "test": 1_000, "long": 1_000}
_LENGTHS = {"train": (3, 20), "valid": (3, 20), "test": (3, 20), "long": (21, 40)}
_TASKS: dict[Task, Callable[[list[str]], list[str]]] = {"copy": list, "reverse": lambda s: s[::-1], "sort": sorted}


def split(task: Task, name: str) -> list[tuple[str, str]]:
    """Pairs of a split: letters with spaces between, and what the task makes of them."""
    generator = random.Random(f"{task} {name}")
    shortest, longest = _LENGTHS[name]
    pairs: list[tuple[str, str]] = []
    for _ in range(_SIZES[name]):
        symbols = generator.choices(_SYMBOLS, k=generator.randint(shortest, longest))
        pairs.append((" ".join(symbols), " ".join(_TASKS[task](symbols))))
    return pairs
