"""From a corpus card to a folder that training reads: read, clean, split, audit, train tokenizers, encode."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from nmt.config import Recipe
from nmt.dataset import read_corpus, write_corpus
from nmt.errors import DataError
from nmt.files import atomic_folder, clear_litter, file_sha256, fingerprint
from nmt.prepared import Prepared, TestSet, Tokenizers
from nmt.text import clean_line, write_lines
from nmt.tokenizer import UNK, Tokenizer
from nmt_data.audit import audit, without_leaks
from nmt_data.cards import Card, home_folder, load_card
from nmt_data.cleaning import Cleaner, normalise
from nmt_data.reading import Split, Unreadable

Pair = tuple[str, str]
Say = Callable[[str], None]

_FORMAT = 4  # of the prepared folder; raising it makes all of them anew
_CHUNK = 10_000
_TOKENIZER_LINES = 2_000_000


@dataclass(frozen=True)
class _Texts:
    """A corpus as text, cleaned and split."""

    train: list[Pair]
    testsets: list[TestSet]
    report: dict[str, Any]


def prepare(recipe: Recipe, say: Say = lambda _: None) -> Prepared:
    """The prepared corpus of a recipe, made unless it lies under NMT_HOME already.

    Raises:
        DataError: the corpus cannot be had or used.
    """
    card = load_card(recipe.data.corpus, (recipe.data.source, recipe.data.target))
    folder = home_folder() / "corpora" / _fingerprint(recipe, card)
    if (folder / "report.json").exists():
        return Prepared(folder)
    start = perf_counter()
    clear_litter(folder.parent)
    say(f"reading {card.name} {recipe.data.source}-{recipe.data.target}")
    texts = _read(recipe, card)
    say(f"training the tokenizer on {len(texts.train)} pairs")
    tokenizers = _train_tokenizers(recipe, texts.train)
    say("encoding")
    with atomic_folder(folder) as draft:
        _write(draft, texts, tokenizers)
        report = {
            **texts.report,
            "tokens": _token_report(draft, tokenizers),
            "seconds": round(perf_counter() - start, 1),
        }
        (draft / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    return Prepared(folder)


def _fingerprint(recipe: Recipe, card: Card) -> str:
    """Of all that the result depends on: settings, card, and the bytes of local files."""
    splits = _splits(recipe, card)
    files = {path.name: file_sha256(path) for split in splits for path in split.files}
    if card.generator:
        package = Path(__file__).parent / "synthetic"
        files = {path.name: file_sha256(path) for path in sorted(package.rglob("*.py"))}
    data, tokenizer = recipe.data.model_dump(mode="json"), recipe.tokenizer.model_dump(mode="json")
    description = card.model_dump(mode="json", exclude={"folder", "tokenize"})
    return fingerprint({"format": _FORMAT, "data": data, "tokenizer": tokenizer, "card": description, "files": files})


def _splits(recipe: Recipe, card: Card) -> list[Split]:
    names = list(card.splits) or (list(card.hub.splits) if card.hub else ["train", "valid", "test", "long"])
    return [Split(card, name, recipe.data.source, recipe.data.target) for name in names]


def _read(recipe: Recipe, card: Card) -> _Texts:
    splits = {split.name: split for split in _splits(recipe, card)}
    unreadable = Unreadable(skip=recipe.data.on_bad_text == "skip")
    case = str.lower if recipe.data.lowercase else str
    cleaner, read = Cleaner(recipe.data.cleaning), 0

    def counted() -> Iterator[Pair]:
        nonlocal read
        for source, target in islice(splits["train"].read(unreadable), recipe.data.limit):
            read += 1
            yield case(source), case(target)

    train = list(cleaner.clean(counted()))
    testsets = [_testset(split, case) for name, split in splits.items() if name != "train"]
    train, held_out = _hold_out(train, card)
    testsets += held_out
    if not any(testset.name == "valid" for testset in testsets):
        raise DataError(f"corpus {card.name} has no validation split; give it holdout.valid = 1000, say")
    leaks = audit(train, testsets)
    if recipe.data.cleaning.drop_leaked:
        kept = without_leaks(train, testsets)
        cleaner.dropped["in a test set"] = len(train) - len(kept)
        train = kept
    if not train:
        raise DataError(f"corpus {card.name}: no training pair is left after cleaning ({dict(cleaner.dropped)})")
    report = {
        "corpus": card.name,
        "licence": card.licence,
        "synthetic": card.synthetic,
        "source": recipe.data.source,
        "target": recipe.data.target,
        "train": {
            "read": read + unreadable.lines,
            "kept": len(train),
            "longest_source_words": max(len(source.split()) for source, _ in train),
            "dropped": {**({"not UTF-8": unreadable.lines} if unreadable.lines else {}), **cleaner.dropped},
            "mended": dict(cleaner.mended),
        },
        "testsets": {testset.name: len(testset.source) for testset in testsets},
        "found_in_train": [leak.as_dict() for leak in leaks],
        "leaks_dropped": recipe.data.cleaning.drop_leaked,
    }
    return _Texts(train, testsets, report)


def _testset(split: Split, case: Callable[[str], str]) -> TestSet:
    """A test set as it is: no line is dropped, and bad text is always an error."""
    pairs = list(split.read(Unreadable()))
    source, target = ([case(clean_line(pair[side])) for pair in pairs] for side in (0, 1))
    return TestSet(split.name, source, target)


def _hold_out(train: list[Pair], card: Card) -> tuple[list[Pair], list[TestSet]]:
    """Takes validation and test pairs out of train, by a hash of the source; what shares a side with them leaves train."""
    wanted = {name: count for name, count in card.holdout.model_dump().items() if count}
    if not wanted:
        return train, []
    order = sorted(range(len(train)), key=lambda row: hashlib.sha256(normalise(train[row][0]).encode()).digest())
    testsets: list[TestSet] = []
    start = 0
    for name, count in wanted.items():
        rows = sorted(order[start : start + count])
        testsets.append(TestSet(name, [train[row][0] for row in rows], [train[row][1] for row in rows]))
        start += count
    rest = [train[row] for row in sorted(order[start:])]
    return without_leaks(rest, testsets), testsets


def _train_tokenizers(recipe: Recipe, train: Sequence[Pair]) -> Tokenizers:
    step = max(1, len(train) // _TOKENIZER_LINES)
    source, target = ([pair[side] for pair in train[::step]] for side in (0, 1))
    if recipe.tokenizer.joint:
        joint = Tokenizer.train(source + target, recipe.tokenizer)
        return Tokenizers(joint, joint)
    return Tokenizers(Tokenizer.train(source, recipe.tokenizer), Tokenizer.train(target, recipe.tokenizer))


def _write(folder: Path, texts: _Texts, tokenizers: Tokenizers) -> None:
    tokenizers.save(folder)
    write_lines(folder / "train.source", [source for source, _ in texts.train])
    write_lines(folder / "train.target", [target for _, target in texts.train])
    write_corpus(folder / "train.arrow", _encoded(texts.train, tokenizers))
    valid = next(testset for testset in texts.testsets if testset.name == "valid")
    write_corpus(folder / "valid.arrow", _encoded(list(zip(valid.source, valid.target, strict=True)), tokenizers))
    (folder / "testsets").mkdir()
    for testset in texts.testsets:
        write_lines(folder / "testsets" / f"{testset.name}.source", testset.source)
        write_lines(folder / "testsets" / f"{testset.name}.target", testset.target)


def _encoded(pairs: Sequence[Pair], tokenizers: Tokenizers) -> Iterator[tuple[list[list[int]], list[list[int]]]]:
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        yield (
            tokenizers.source.encode([source for source, _ in chunk]),
            tokenizers.target.encode([target for _, target in chunk]),
        )


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
