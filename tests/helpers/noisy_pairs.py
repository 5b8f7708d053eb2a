"""Plants noise of known kinds among clean pairs and measures what each filter finds: `python noisy_pairs.py [KEY=VALUE ...]`.

NMT_DATA holds the corpora: German-English pairs of Tatoeba, and French lines of Multi30k. The table is that of
docs/how-to/clean-a-corpus.md. Keys of `[data.cleaning]` try other thresholds.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nmt.config.cleaning import CleaningConfig
from nmt_data.alignment import SAMPLE, Lexicon
from nmt_data.cleaning.cleaner import Cleaner, Raw
from nmt_data.cleaning.filters import FILTERS
from nmt_data.cleaning.mending import mended_encoding
from nmt_data.cleaning.minhash import shape_of
from nmt_data.cleaning.pairs import Pairs
from nmt_data.duplicates import near_rows
from nmt_data.gathering import shard_path
from nmt_data.shards import Mask
from tiny import make_recipe

Pair = tuple[str, str]
SEED, PLANTED = 1, 1000
PROPOSED: dict[str, Any] = {
    "drop_identical": True,
    "drop_replacement": True,
    "max_markup": 0.2,
    "max_repeats": 3,
    "drop_other_numbers": True,
    "drop_other_brackets": True,
    "min_script": 0.5,
    "language_confidence": 0.9,
    "near_duplicates": 0.9,
    "min_alignment": 0.5,
}
_FOR = {
    "length ratio": "truncated",
    "identical sides": "copied",
    "replacement character": "lost letter",
    "markup": "boilerplate",
    "repetition": "repeated",
    "other numbers": "other number",
    "other brackets": "bracket lost",
    "wrong script": "other script",
    "wrong language": "other language",
    "near duplicate": "near-duplicate",
    "weak alignment": "misaligned",
    "mended encoding": "mojibake",
}
"""The kind of noise that each filter is for."""
_CYRILLIC = str.maketrans("abcdefghiklmnoprstuvwyz", "абцдефгхиклмнопрстуввыз")
_BOILERPLATE = (
    "Copyright © {} <a href='http://www.example.{}/terms'>Terms</a>",
    "Klicken Sie hier: http://www.example.com/{}/{}.html",
    "<p>&nbsp;</p><p>{} &raquo; {}</p>",
)


def lines(name: str, language: str) -> list[str]:
    """The lines of a corpus."""
    return (Path(os.environ["NMT_DATA"]) / f"{name}.{language}").read_text(encoding="utf-8").split("\n")[:-1]


def _changed_number(line: str) -> str:
    return "".join(str((int(sign) + 1) % 10) if sign.isdecimal() else sign for sign in line)


def _planters(
    generator: random.Random, clean: Sequence[Pair], french: Sequence[str]
) -> dict[str, Callable[[Pair], Pair]]:
    """Makes noise of each kind from a clean pair; the same pair: this one does not lend itself to it."""

    def misaligned(pair: Pair) -> Pair:
        return pair[0], generator.choice(clean)[1]

    def truncated(pair: Pair) -> Pair:
        words = pair[1].split()
        return (pair[0], " ".join(words[: len(words) // 4])) if len(words) >= 8 else pair

    def boilerplate(_: Pair) -> Pair:
        text = generator.choice(_BOILERPLATE)
        first, second = generator.randrange(3000), generator.choice(["com", "de", "org"])
        return text.format(first, second), text.format(first, second).replace("Klicken Sie hier", "Click here")

    def mojibake(pair: Pair) -> Pair:
        return pair[0].encode().decode("cp1252", "ignore"), pair[1]

    def near(pair: Pair) -> Pair:
        words = pair[1].split()
        place = generator.randrange(len(words))
        return pair[0].rstrip(".") + "!", " ".join(
            [*words[:place], words[place], "really"[: 6 * (place > 2)], *words[place + 1 :]]
        )

    def repeated(pair: Pair) -> Pair:
        words = pair[1].rstrip(".").split()
        return pair[0], " ".join(words + words[-2:] * generator.randrange(4, 9))

    def lost(pair: Pair) -> Pair:
        return "".join(sign if sign.isascii() else "\ufffd" for sign in pair[0]), pair[1]

    return {
        "misaligned": misaligned,
        "truncated": truncated,
        "copied": lambda pair: (pair[0], pair[0]),
        "other language": lambda pair: (pair[0], generator.choice(french)),
        "other script": lambda pair: (pair[0], pair[1].lower().translate(_CYRILLIC)),
        "boilerplate": boilerplate,
        "mojibake": mojibake,
        "lost letter": lost,
        "near-duplicate": near,
        "repeated": repeated,
        "other number": lambda pair: (pair[0], _changed_number(pair[1])),
        "bracket lost": lambda pair: (f"{pair[0]} ({generator.choice(clean)[0]})", pair[1]),
    }


def noisy(clean: Sequence[Pair], french: Sequence[str]) -> tuple[list[Pair], list[str]]:
    """The clean pairs with noise of all kinds between them, and the kind of each; empty: it is clean."""
    generator = random.Random(SEED)
    rows = [(pair, "") for pair in clean]
    for kind, plant in _planters(generator, clean, french).items():
        planted = 0
        for pair in generator.sample(clean, len(clean)):
            if planted < PLANTED and (made := plant(pair)) != pair:
                rows.append((made, kind))
                planted += 1
    order = list(range(len(rows)))
    head = len(clean) // 2  # near-duplicates come after what they resemble, more often than not
    tail = order[head:]
    generator.shuffle(tail)
    chosen = [rows[row] for row in order[:head] + tail]
    return [row[0] for row in chosen], [row[1] for row in chosen]


def found(pairs: Sequence[Pair], config: CleaningConfig) -> Iterator[tuple[str, Mask]]:
    """What each filter drops, alone."""
    columns = Pairs([pair[0] for pair in pairs], [pair[1] for pair in pairs], ("de", "en"))
    for name, judge in FILTERS.items():
        if name not in ("empty", "too long"):
            yield name, judge(columns, config)
    yield "near duplicate", _near(columns, config)
    step = max(1, len(pairs) // SAMPLE)
    lexicon = Lexicon.learned(pairs[::step], columns.languages)
    assert config.min_alignment is not None
    yield "weak alignment", lexicon.scores(columns.source, columns.target) < config.min_alignment
    sides = mended_encoding(columns.source), mended_encoding(columns.target)
    yield "mended encoding", np.array([row != pair for row, pair in zip(zip(*sides, strict=True), pairs, strict=True)])


def _near(pairs: Pairs, config: CleaningConfig) -> Mask:
    data = make_recipe(data={"cleaning": {"near_duplicates": config.near_duplicates, "max_ratio": 1e6}}).data
    with tempfile.TemporaryDirectory() as folder:
        cleaned = Cleaner(data)(Raw(0, pairs, mono=False))
        assert cleaned.rows == len(pairs)
        shard_path(Path(folder), 0).write_bytes(cleaned.shard)
        assert config.near_duplicates is not None
        return next(near_rows(Path(folder), [len(pairs)], 500_000_000, shape_of(config.near_duplicates)[0]))


def table(config: CleaningConfig) -> Iterator[str]:
    """The rows of the table, as Markdown."""
    tatoeba = list(zip(lines("tatoeba_deen/train", "de"), lines("tatoeba_deen/train", "en"), strict=True))
    multi30k = list(zip(lines("multi30k/train", "de"), lines("multi30k/train", "en"), strict=True))
    pairs, kinds = noisy(random.Random(SEED).sample(tatoeba, 40_000), lines("multi30k/train", "fr"))
    names = np.array(kinds)
    clean = [dict(found(corpus, config)) for corpus in (tatoeba, multi30k)]
    yield "| filter | noise | recall | recall, all noise | precision | lost of Tatoeba | lost of Multi30k |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name, dropped in found(pairs, config):
        planted = dropped & (names != "")
        shares = [
            dropped[names == _FOR[name]].mean(),
            planted.sum() / (names != "").sum(),
            planted.sum() / max(1, dropped.sum()),
        ]
        lost = [f"{100 * corpus[name].mean():.2f}" for corpus in clean]
        yield "| " + " | ".join([name, _FOR[name], *(f"{100 * share:.1f}" for share in shares), *lost]) + " |"


if __name__ == "__main__":
    changes = dict(argument.split("=") for argument in sys.argv[1:])
    for row in table(CleaningConfig.model_validate(PROPOSED | changes)):
        sys.stdout.write(row + "\n")
        sys.stdout.flush()
