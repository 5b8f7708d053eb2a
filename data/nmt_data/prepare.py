"""Makes the folder that training reads from corpus cards: read, clean, split, audit, train tokenizers, encode."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from nmt.config.paths import taken_tokenizer
from nmt.config.recipe import Recipe
from nmt.corpus.encoded import read_corpus, write_corpus
from nmt.corpus.prepared import Prepared
from nmt.corpus.rendering import is_shaped, renderer_of
from nmt.corpus.testset import TestSet
from nmt.corpus.tokenizer import MASK, UNK, Tokenizer, Tokenizers, language_tag
from nmt.errors import DataError
from nmt.runtime.atomic import atomic_folder, clear_litter, write_json
from nmt.runtime.files import NAME_A_HOME, check_output, file_sha256, fingerprint, home_folder
from nmt.runtime.stages import counted
from nmt.storage.manifest import broken, write_manifest
from nmt.training.batches import select
from nmt_data.parts import fingerprint_of, parts_of
from nmt_data.texts import Say, Texts, read_texts

_CHUNK = 10_000
_TOKENIZER_LINES = 2_000_000


def prepare(recipe: Recipe, say: Say = lambda _: None, thorough: bool = False) -> Prepared:
    """Returns the prepared corpus of a recipe, made unless it already exists, undamaged, under NMT_HOME.

    Args:
        recipe: its corpora and tokenizer are used.
        say: receives a line about each step.
        thorough: check every byte of large files too, as before a training.

    Raises:
        DataError: the corpus is missing or unusable.
    """
    parts, taken = parts_of(recipe), Tokenizers.taken(recipe)
    key = fingerprint_of(recipe, parts, taken)
    folder = home_folder() / "corpora" / key
    reason = broken(folder, thorough)
    if not reason:
        return _checked(Prepared(folder), recipe, say)
    if folder.exists():
        say(f"{folder} is damaged ({reason}); it is made again")
    check_output(folder, folder=True, hint=NAME_A_HOME)
    start = perf_counter()
    clear_litter(folder.parent)
    say("reading " + ", ".join(f"{part.card.name} {part.direction}" for part in parts))
    texts = read_texts(recipe, parts, say)
    if fingerprint_of(recipe, parts_of(recipe), taken) != key:
        raise DataError(f"corpus {parts[0].card.name} was changed while it was read; start again")
    if taken:
        say(f"taking the tokenizer of {taken_tokenizer(recipe.model_dump())}: {taken.description}")
    else:
        lines = f" and {len(texts.train.source) - texts.pairs} lines of text" if recipe.data.mono else ""
        say(f"training the tokenizer on {texts.pairs} pairs{lines}")
    tokenizers = taken or _train_tokenizers(recipe, texts)
    say("encoding")
    with atomic_folder(folder, keep=lambda there: not broken(there, thorough)) as draft:
        _write(draft, texts, tokenizers)
        report = {
            **texts.report,
            "fingerprint": _identity(draft, texts, tokenizers),
            "tokens": _token_report(draft, tokenizers),
            "seconds": round(perf_counter() - start, 1),
        }
        write_json(draft / "report.json", report)
        write_manifest(draft)
    return _checked(Prepared(folder), recipe, say)


def _checked(prepared: Prepared, recipe: Recipe, say: Say) -> Prepared:
    """Checks that validation has pairs within the length limit, and that the font of a visual model has all letters.

    Raises:
        DataError: a check fails.
    """
    _check_font(prepared, recipe)
    limit, total = recipe.training.max_length, len(prepared.valid)
    chosen = select(prepared.valid, limit)
    if not len(chosen.rows):
        raise DataError(
            f"none of the {total} validation pairs has between 1 and training.max_length = {limit} tokens a side"
        )
    if chosen.too_long:
        say(
            f"{chosen.too_long} of {total} validation pairs are above training.max_length = {limit}: no part of its loss"
        )
    return prepared


def _check_font(prepared: Prepared, recipe: Recipe) -> None:
    """Refuses training text with characters that would be drawn as empty boxes."""
    model = recipe.model
    if model.kind != "visual":
        return
    renderer, lines = renderer_of(model.font, model.height, model.grid), prepared.training_text().source
    missing = renderer.missing("".join(set().union(*lines)))
    if missing:
        rows = sum(not missing.isdisjoint(line) for line in lines)
        first = min(missing, key=lambda letter: next(row for row, line in enumerate(lines) if letter in line))
        more = f" and {len(missing) - 1} other characters" * (len(missing) > 1)
        named, remedy = f"{first!r} (U+{ord(first):04X}){more}", "set model.font to a font that has them"
        if is_shaped(first):
            remedy += ", and install libfribidi: Pillow needs it to join and stack letters (Debian's libfribidi0)"
        raise DataError(f"{renderer.name} cannot show {named}, which {rows} training lines hold; {remedy}")


def _identity(folder: Path, texts: Texts, tokenizers: Tokenizers) -> str:
    """Returns a fingerprint of the training and validation content; test sets, titles and licences do not count."""
    names = ("train.source", "train.target", "testsets/valid.source", "testsets/valid.target")
    ids = hashlib.sha256()
    for corpus in (read_corpus(folder / "train.arrow"), read_corpus(folder / "valid.arrow")):
        for ragged in (corpus.source, corpus.target):
            ids.update(ragged.values.data)
            ids.update(ragged.offsets.data)
    return fingerprint(
        {
            "text": [file_sha256(folder / name) for name in names],
            "ids": ids.hexdigest(),
            "vocabulary": tokenizers.fingerprints,
            "parts": [part["pairs"] for part in texts.report["parts"]],
            **({"mono": [part["lines"] for part in mono["parts"]]} if (mono := texts.report.get("mono")) else {}),
            "tokenize": texts.report["tokenize"],
        }
    )


def _train_tokenizers(recipe: Recipe, texts: Texts) -> Tokenizers:
    train = texts.train
    step = max(1, len(train.source) // _TOKENIZER_LINES)
    source, target = train.tagged[::step], train.target[: texts.pairs : step]  # a line without translation counts once
    config = recipe.tokenizer.model_copy(update={"kind": recipe.tokenizer.kinds[0]})
    if config.kind != "byte":  # which spells tags too
        symbols = [*config.user_symbols, *map(language_tag, recipe.data.tags), *([MASK] if recipe.data.mono else [])]
        config = config.model_copy(update={"user_symbols": tuple(dict.fromkeys(symbols))})
    if config.joint:
        joint = Tokenizer.train(source + target, config)
        return Tokenizers(joint, joint)
    return Tokenizers(Tokenizer.train(source, config), Tokenizer.train(target, recipe.tokenizer))


def _write(folder: Path, texts: Texts, tokenizers: Tokenizers) -> None:
    tokenizers.save(folder)
    texts.train.write(folder)
    write_corpus(folder / "train.arrow", _encoded(texts.train, tokenizers))
    valid = next(testset for testset in texts.testsets if testset.name == "valid")
    write_corpus(folder / "valid.arrow", _encoded(valid, tokenizers))
    (folder / "testsets").mkdir()
    for testset in texts.testsets:
        testset.write(folder / "testsets")


def _encoded(text: TestSet, tokenizers: Tokenizers) -> Iterator[tuple[list[list[int]], list[list[int]]]]:
    source = text.tagged
    for start in counted(
        range(0, len(source), _CHUNK), "encoding", -(-len(source) // _CHUNK), f"times {_CHUNK:,} pairs"
    ):
        rows = slice(start, start + _CHUNK)
        yield tokenizers.source.encode(source[rows]), tokenizers.target.encode(text.target[rows])


def _token_report(folder: Path, tokenizers: Tokenizers) -> dict[str, Any]:
    corpus = read_corpus(folder / "train.arrow")
    sides = {"source": (corpus.source, tokenizers.source), "target": (corpus.target, tokenizers.target)}
    return {
        side: {
            "vocabulary": tokenizer.vocabulary_size,
            "tokens": len(ragged.values),
            "mean_length": round(float(ragged.lengths.mean()), 2),
            "longest": int(ragged.lengths.max()),
            "unknown": int(np.count_nonzero(ragged.values == UNK)),
        }
        for side, (ragged, tokenizer) in sides.items()
    }
