"""Makes a parallel corpus of any size from real sentences: `python many_pairs.py FOLDER PAIRS`; NMT_DATA holds the originals.

A line is two sentences of the training sets of Tatoeba and Multi30k (German-English), joined by a space on both sides: the
first in order, the second by a multiplicative hash of the row. So words have their natural frequencies, a pair has 13 words a
side on average, and 184,000 sentences give 34 billion different pairs. Every twentieth line repeats one of the nineteen before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

_ORIGINALS = ("tatoeba_deen/train", "multi30k/train")
_GOLDEN = 11400714819323198485  # 2^64 divided by the golden ratio (Knuth, volume 3, section 6.4)
_REPEATED = 20


def many_pairs(data: Path, count: int) -> Iterator[tuple[str, str]]:
    """Yields as many pairs of German and English."""
    sides = [
        [
            line
            for name in _ORIGINALS
            for line in (data / f"{name}.{language}").read_text(encoding="utf-8").split("\n")[:-1]
        ]
        for language in ("de", "en")
    ]
    total = len(sides[0])
    for number in range(count):
        row = number
        if number % _REPEATED == _REPEATED - 1:
            row -= 1 + _hashed(number) % min(_REPEATED - 1, number)
        first, second = row % total, (_hashed(row) + row // total) % total
        yield f"{sides[0][first]} {sides[0][second]}", f"{sides[1][first]} {sides[1][second]}"


def _hashed(row: int) -> int:
    return row * _GOLDEN % 2**64 >> 20


def write(folder: Path, data: Path, count: int) -> Path:
    """Writes the corpus, its card and a recipe for it; returns the path of the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        files = [stack.enter_context((folder / f"many.{side}").open("w", encoding="utf-8")) for side in ("de", "en")]
        for pair in many_pairs(data, count):
            for file, line in zip(files, pair, strict=True):
                file.write(f"{line}\n")
    for name in ("dev", "test"):
        for language in ("de", "en"):
            (folder / f"{name}.{language}").write_bytes((data / f"tatoeba_deen/{name}.{language}").read_bytes())
    (folder / "many.toml").write_text(_CARD, encoding="utf-8")
    recipe = folder / "recipe.toml"
    recipe.write_text(_RECIPE, encoding="utf-8")
    return recipe


_CARD = """\
name = "many"
title = "Pairs of real sentences, joined two by two"
licence = "CC-BY 2.0 FR"
languages = ["de", "en"]
splits = { train = "many.{language}", valid = "dev.{language}", test = "test.{language}" }
"""
_RECIPE = """\
name = "many"

[data]
corpus = "many.toml"
source = "de"
target = "en"

[data.cleaning]
duplicates = "exact"

[tokenizer]
kind = "bpe"

[model]
kind = "transformer"

[training]
updates = 10
"""

if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(os.environ["NMT_DATA"]), int(float(sys.argv[2])))
