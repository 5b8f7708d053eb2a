"""Writes two corpora of 4,000 pairs: the training data of one holds its test set, that of the other does not.

`python docs/teaching/leaked_corpus.py runs/leak` writes runs/leak/clean.toml and runs/leak/leaked.toml with their text.
"""

import sys
from pathlib import Path

from nmt_data.synthetic import phrasebook

CARD = """name = "{name}"
title = "Phrasebook, 4,000 pairs, {name}"
licence = "MIT, part of nmt"
languages = ["de", "en"]

[splits]
train = "{name}.{{language}}"
valid = "valid.{{language}}"
test = "test.{{language}}"
fresh = "fresh.{{language}}"
"""


def write(folder: Path, name: str, pairs: list[tuple[str, str]]) -> None:
    """Writes a file for each language."""
    for side, language in enumerate(("de", "en")):
        text = "".join(f"{pair[side]}\n" for pair in pairs)
        (folder / f"{name}.{language}").write_text(text, encoding="utf-8")


folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
train, test = phrasebook.split("train"), phrasebook.split("test")
write(folder, "clean", train[:4000])
write(folder, "leaked", train[:3500] + test[:500])
write(folder, "valid", phrasebook.split("valid"))
write(folder, "test", test[:500])
write(folder, "fresh", test[500:])
for name in ("clean", "leaked"):
    (folder / f"{name}.toml").write_text(CARD.format(name=name), encoding="utf-8")
