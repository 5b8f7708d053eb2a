"""Draws small corpora from the training pairs of Multi30k, as a team with few translations would have them.

    python recipes/low-resource-ende/draw.py FOLDER        (needs NMT_DATA with multi30k_tok/)

Pairs are ordered by a hash, and a corpus takes the first ones. So each corpus holds the smaller ones, and every computer draws
the same. Writes N.en, N.de and the card N.toml for each size; validation and test sets are those of Multi30k.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from nmt.corpus.lines import decode_strict, file_lines, write_lines

SIZES = (1000, 5000, 29000)
CARD = """name = "multi30k-{size}"
title = "{size} training pairs of Multi30k, drawn by hash"
licence = "research use"
languages = ["en", "de"]
tokenize = "none"

[splits]
train = "{size}.{{language}}"
valid = "multi30k_tok/val.{{language}}"
test_2016_flickr = "multi30k_tok/test_2016_flickr.{{language}}"
test_2017_flickr = "multi30k_tok/test_2017_flickr.{{language}}"
"""


def main(output: Path) -> None:
    """Writes the corpora."""
    data = os.environ.get("NMT_DATA")
    if not data:
        sys.exit("NMT_DATA is not set: the folder that holds multi30k_tok/")
    files = [Path(data) / f"multi30k_tok/train.{language}" for language in ("en", "de")]
    sides = [[decode_strict(line, str(file)) for line in file_lines(file)] for file in files]
    pairs = sorted(zip(*sides, strict=True), key=lambda pair: hashlib.sha256("\t".join(pair).encode()).digest())
    output.mkdir(parents=True, exist_ok=True)
    for size in SIZES:
        for side, language in enumerate(("en", "de")):
            write_lines(output / f"{size}.{language}", [pair[side] for pair in pairs[:size]])
        (output / f"{size}.toml").write_text(CARD.format(size=size), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
