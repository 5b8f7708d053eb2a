"""The generated corpora by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from nmt_data.synthetic import phrasebook, symbols

Generator = Literal["phrasebook", "copy", "reverse", "sort"]


def generate(name: Generator, split: str, reverse: bool) -> Iterator[tuple[str, str]]:
    """Returns the pairs of a split (train, valid, test or long) of a generated corpus; `reverse` swaps the sides."""
    pairs = phrasebook.split(split) if name == "phrasebook" else symbols.split(name, split)
    return ((target, source) for source, target in pairs) if reverse else iter(pairs)
