"""Joins consecutive captions of Multi30k en-fr: training pairs of up to 30 or 50 words, test buckets of up to 80.

    python recipes/bottleneck-multi30k/join.py FOLDER        (needs NMT_DATA with multi30k_tok/)

Writes two corpora with their cards, joined30.toml and joined50.toml, on the same captions. Joined captions probe memory, not
long syntax. `apart` holds the captions of `joined` one by one, in the same order: what a model loses between the two is
length alone. Test captions come from the test sets, training captions from train; they are never mixed.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

Pair = tuple[str, str]

BUCKETS = ((1, 10), (11, 20), (21, 30), (31, 40), (41, 50), (51, 60), (61, 80))
"""Source words of the test sentences, ends included."""
PER_BUCKET = 300
"""Test sentences of a bucket."""
PASSES = 2
"""Times that every training caption is used, each time in other company."""


def captions(folder: Path, *splits: str) -> list[Pair]:
    """Pairs of some splits."""
    sides = [
        [line for split in splits for line in (folder / f"{split}.{language}").read_text("utf-8").splitlines()]
        for language in ("en", "fr")
    ]
    return list(zip(*sides, strict=True))


def words(pairs: Sequence[Pair]) -> int:
    """Of the sources."""
    return sum(len(source.split()) for source, _ in pairs)


def joined(pairs: Sequence[Pair]) -> Pair:
    """One pair of several."""
    return " ".join(source for source, _ in pairs), " ".join(target for _, target in pairs)


def training(pairs: Sequence[Pair], cap: int) -> list[Pair]:
    """Captions joined as far as a length drawn for each pair allows, up to the cap; all are used, longer ones alone."""
    generator = random.Random(cap)
    found: list[Pair] = []
    for _ in range(PASSES):
        order = list(pairs)
        generator.shuffle(order)
        while order:
            length, group = generator.randint(1, cap), [order.pop()]
            while order and words([*group, order[-1]]) <= length:
                group.append(order.pop())
            found.append(joined(group))
    return found


def testing(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Groups of consecutive captions, bucket by bucket; where one pass over them is too few, another cuts them otherwise."""
    generator = random.Random(7)
    found: list[list[Pair]] = []
    for low, high in BUCKETS:
        groups: list[list[Pair]] = []
        rest: list[Pair] = []
        while len(groups) < PER_BUCKET:
            rest = rest or list(pairs)
            length, group = generator.randint(low, high), [rest.pop(0)]
            while rest and words([*group, rest[0]]) <= length:
                group.append(rest.pop(0))
            if low <= words(group) <= high:
                groups.append(group)
        found += groups
    return found


def write(path: Path, pairs: Sequence[Pair]) -> None:
    """A file for each language."""
    for index, language in enumerate(("en", "fr")):
        path.with_suffix(f".{language}").write_text("".join(f"{pair[index]}\n" for pair in pairs), "utf-8")


def main(folder: Path) -> None:
    """Writes everything into a folder."""
    if "NMT_DATA" not in os.environ:
        sys.exit("set NMT_DATA to the folder that holds multi30k_tok/")
    data = Path(os.environ["NMT_DATA"]) / "multi30k_tok"
    folder.mkdir(parents=True, exist_ok=True)
    groups = testing(captions(data, "test_2016_flickr", "test_2017_flickr"))
    write(folder / "joined", [joined(group) for group in groups])
    write(folder / "apart", [pair for group in groups for pair in group])
    (folder / "counts").write_text("".join(f"{len(group)}\n" for group in groups))
    for cap in (30, 50):
        write(folder / f"train{cap}", training(captions(data, "train"), cap))
        write(folder / f"valid{cap}", training(captions(data, "val"), cap)[:1000])
        card = f"""name = "joined{cap}"
title = "Multi30k en-fr, captions joined to up to {cap} words"
licence = "research use"
languages = ["en", "fr"]
tokenize = "none"

[splits]
train = "train{cap}.{{language}}"
valid = "valid{cap}.{{language}}"
joined = "joined.{{language}}"
apart = "apart.{{language}}"
"""
        (folder / f"joined{cap}.toml").write_text(card)
    for low, high in BUCKETS:
        print(f"{low}-{high} words: {sum(low <= words(group) <= high for group in groups)} test sentences")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
