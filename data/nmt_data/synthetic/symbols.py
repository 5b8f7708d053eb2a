"""Copy, reverse and sort: sequences of letters, on which a model must carry every symbol across."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

Task = Literal["copy", "reverse", "sort"]

_SYMBOLS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"
_SIZES = {"train": 100_000, "valid": 500, "test": 1_000, "long": 1_050}
_TRAINED = range(3, 31)
_LENGTHS = {"train": _TRAINED, "valid": _TRAINED, "test": _TRAINED, "long": (5, 10, 20, 30, 40, 50, 60)}
_TASKS: dict[Task, Callable[[list[str]], list[str]]] = {"copy": list, "reverse": lambda s: s[::-1], "sort": sorted}


def split(task: Task, name: str) -> list[tuple[str, str]]:
    """Returns the pairs of a split: letters separated by spaces, and the task's result.

    `long` has equally many pairs of each of its lengths, some longer than all in training.
    """
    generator = random.Random(f"{task} {name}")
    lengths = _LENGTHS[name]
    pairs: list[tuple[str, str]] = []
    for number in range(_SIZES[name]):
        length = generator.choice(lengths) if name != "long" else lengths[number % len(lengths)]
        symbols = generator.choices(_SYMBOLS, k=length)
        pairs.append((" ".join(symbols), " ".join(_TASKS[task](symbols))))
    return pairs
