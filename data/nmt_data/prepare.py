"""From a corpus card to a folder that training reads: read, clean, split, audit, train tokenizers, encode."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from nmt.config import CorpusConfig, DataConfig, Recipe, Tokenization
from nmt.dataset import read_corpus, write_corpus
from nmt.errors import DataError
from nmt.files import atomic_folder, clear_litter, file_sha256, fingerprint, home_folder, write_json
from nmt.manifest import broken, write_manifest
from nmt.prepared import Prepared, TestSet, Tokenizers
from nmt.text import clean_line, write_lines
from nmt.tokenizer import UNK, Tokenizer, language_tag
from nmt.words import normalise
from nmt_data.audit import audit, without_leaks
from nmt_data.cards import Card, load_card
from nmt_data.cleaning import Cleaner
from nmt_data.reading import Split, Unreadable

Pair = tuple[str, str]
Say = Callable[[str], None]

_FORMAT = 6  # of the prepared folder; raising it makes all of them anew
_CHUNK = 10_000
_TOKENIZER_LINES = 2_000_000


@dataclass(frozen=True)
class _Texts:
    """A corpus as text, cleaned and split."""

    train: list[Pair]
    testsets: list[TestSet]
    report: dict[str, Any]


def prepare(recipe: Recipe, say: Say = lambda _: None, thorough: bool = False) -> Prepared:
    """The prepared corpus of a recipe, made unless it lies under NMT_HOME already, whole.

    Args:
        recipe: whose corpora and tokenizer are wanted.
        say: receives a line about each step.
        thorough: look at every byte of large files too, as before a training.

    Raises:
        DataError: the corpus cannot be had or used.
    """
    parts = _parts(recipe)
    key = _fingerprint(recipe, parts)
    folder = home_folder() / "corpora" / key
    reason = broken(folder, thorough)
    if not reason:
        return Prepared(folder)
    if folder.exists():
        say(f"{folder} is damaged ({reason}); it is made again")
    start = perf_counter()
    clear_litter(folder.parent)
    say("reading " + ", ".join(f"{part.card.name} {part.direction}" for part in parts))
    texts = _read(recipe, parts)
    if _fingerprint(recipe, _parts(recipe)) != key:
        raise DataError(f"corpus {parts[0].card.name} was changed while it was read; start again")
    say(f"training the tokenizer on {len(texts.train)} pairs")
    tokenizers = _train_tokenizers(recipe, texts.train)
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
    return Prepared(folder)


@dataclass(frozen=True)
class _Part:
    """One corpus in one direction."""

    card: Card
    source: str
    target: str

    @property
    def direction(self) -> str:
        return f"{self.source}-{self.target}"

    @property
    def tokenize(self) -> Tokenization:
        return self.card.tokenization(self.target)

    def splits(self) -> list[Split]:
        names = list(self.card.splits) or (list(self.card.hub.splits) if self.card.hub else _GENERATED)
        return [Split(self.card, name, self.source, self.target) for name in names]


_GENERATED = ["train", "valid", "test", "long"]


def _parts(recipe: Recipe) -> list[_Part]:
    wanted: list[DataConfig | CorpusConfig] = [recipe.data, *recipe.data.more]
    return [_Part(load_card(item.corpus, (item.source, item.target)), item.source, item.target) for item in wanted]


def _fingerprint(recipe: Recipe, parts: Sequence[_Part]) -> str:
    """Of all that the result depends on: settings, cards, and the bytes of local files; not of where these lie."""
    cards = [
        {"card": part.card.model_dump(mode="json", exclude={"folder"}), "files": _hashes(part), "to": part.direction}
        for part in parts
    ]
    mixing = {"weight", "temperature"}  # decide on what is drawn from the corpora, not on what they hold
    data = recipe.data.model_dump(mode="json", exclude={*mixing, "corpus", "more"})
    tokenizer = recipe.tokenizer.model_dump(mode="json")
    return fingerprint({"format": _FORMAT, "data": data, "tokenizer": tokenizer, "corpora": cards})


def _hashes(part: _Part) -> dict[str, str]:
    """What is read, by what it is read as: the files of each split in the order of the languages, or the generator."""
    if part.card.generator:
        package = Path(__file__).parent / "synthetic"
        return {path.relative_to(package).as_posix(): file_sha256(path) for path in sorted(package.rglob("*.py"))}
    return {
        f"{split.name} {side}{path.suffix}": file_sha256(path)
        for split in part.splits()
        for side, path in enumerate(split.files)
    }


def _identity(folder: Path, texts: _Texts, tokenizers: Tokenizers) -> str:
    """Of what is trained on and validated with, by content: test sets, titles and licences are no part of it."""
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
            "tokenize": texts.report["tokenize"],
        }
    )


def _read(recipe: Recipe, parts: Sequence[_Part]) -> _Texts:
    unreadable = Unreadable(skip=recipe.data.on_bad_text == "skip")
    cleaner, reader = Cleaner(recipe.data.cleaning), _Reader(recipe, unreadable)
    trains: list[list[Pair]] = []
    testsets: list[TestSet] = []
    valids: list[TestSet] = []
    for part in parts:
        train = list(cleaner.clean(reader.train(part)))
        train, held_out = _hold_out(train, part.card)
        tag = f"{language_tag(part.target)} " if recipe.data.tag_target else ""
        trains.append([(tag + source, target) for source, target in train])
        found = [_tagged(testset, tag) for testset in (*reader.testsets(part), *held_out)]
        valids += [testset for testset in found if testset.name == "valid"]
        taken = {testset.name for testset in testsets}
        testsets += [
            replace(_named_apart(item, part, taken), tokenize=part.tokenize) for item in found if item.name != "valid"
        ]
    if not valids:
        raise DataError(f"corpus {parts[0].card.name} has no validation split; give it holdout.valid = 1000, say")
    testsets = [replace(_interleaved(valids), tokenize=_validation_tokenization(parts)), *testsets]
    leaks = audit([pair for train in trains for pair in train], testsets)
    if recipe.data.cleaning.drop_leaked:
        kept = [without_leaks(train, testsets) for train in trains]
        cleaner.dropped["in a test set"] = sum(map(len, trains)) - sum(map(len, kept))
        trains = kept
    pairs = [pair for train in trains for pair in train]
    if not pairs:
        raise DataError(
            f"corpus {parts[0].card.name}: no training pair is left after cleaning ({dict(cleaner.dropped)})"
        )
    first = parts[0]
    report = {
        "corpus": first.card.name,
        "licence": first.card.licence,
        "synthetic": first.card.synthetic,
        "tokenize": testsets[0].tokenize,
        "tokenizations": {testset.name: testset.tokenize for testset in testsets},
        "lowercase": recipe.data.lowercase,
        "source": first.source,
        "target": first.target,
        "parts": [
            {"corpus": part.card.name, "direction": part.direction, "pairs": len(train)}
            for part, train in zip(parts, trains, strict=True)
        ],
        "train": {
            "read": reader.count + unreadable.lines,
            "kept": len(pairs),
            "longest_source_words": max(len(source.split()) for source, _ in pairs),
            "dropped": {**({"not UTF-8": unreadable.lines} if unreadable.lines else {}), **cleaner.dropped},
            "mended": dict(cleaner.mended),
        },
        "testsets": {testset.name: len(testset.source) for testset in testsets},
        "found_in_train": [leak.as_dict() for leak in leaks],
        "leaks_dropped": recipe.data.cleaning.drop_leaked,
    }
    return _Texts(pairs, testsets, report)


@dataclass
class _Reader:
    """Reads the splits of corpora as a recipe wants them: lower-cased, limited, tagged."""

    recipe: Recipe
    unreadable: Unreadable
    count: int = 0
    """Training pairs read."""

    def train(self, part: _Part) -> Iterator[Pair]:
        split = next(split for split in part.splits() if split.name == "train")
        for source, target in islice(split.read(self.unreadable), self.recipe.data.limit):
            self.count += 1
            yield self._case(source), self._case(target)

    def testsets(self, part: _Part) -> list[TestSet]:
        """Test sets as they are: no line is dropped, and bad text is always an error."""
        return [self._testset(split) for split in part.splits() if split.name != "train"]

    def _testset(self, split: Split) -> TestSet:
        pairs = list(split.read(Unreadable()))
        source, target = ([self._case(clean_line(pair[side])) for pair in pairs] for side in (0, 1))
        return TestSet(split.name, source, target)

    def _case(self, text: str) -> str:
        return text.lower() if self.recipe.data.lowercase else text


def _tagged(testset: TestSet, tag: str) -> TestSet:
    return TestSet(testset.name, [tag + source for source in testset.source], testset.target)


def _named_apart(testset: TestSet, part: _Part, taken: set[str]) -> TestSet:
    """The test set under a name that no corpus before has used."""
    names = (testset.name, f"{testset.name}.{part.direction}", f"{testset.name}.{part.card.name}.{part.direction}")
    return TestSet(next(name for name in names if name not in taken), testset.source, testset.target)


def _interleaved(testsets: Sequence[TestSet]) -> TestSet:
    """One test set with the lines of all, in turn, so that its beginning holds some of each."""
    columns = [list(zip(testset.source, testset.target, strict=True)) for testset in testsets]
    pairs = [pair for row in zip_longest(*columns) for pair in row if pair is not None]
    return TestSet("valid", [source for source, _ in pairs], [target for _, target in pairs])


def _validation_tokenization(parts: Sequence[_Part]) -> Tokenization:
    """That of the first corpus, unless another has a target language of its own way, which splits the others' words too."""
    return next((part for part in parts if part.tokenize not in ("13a", "none")), parts[0]).tokenize


def _hold_out(train: list[Pair], card: Card) -> tuple[list[Pair], list[TestSet]]:
    """Takes validation and test pairs out of train, by a hash of the source; what shares a side with them leaves train."""
    wanted = {name: count for name, count in card.holdout.model_dump().items() if count}
    if not wanted:
        return train, []
    if sum(wanted.values()) >= len(train):
        raise DataError(f"corpus {card.name}: holdout wants {sum(wanted.values())} of only {len(train)} pairs")
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
    config = recipe.tokenizer
    if recipe.data.tag_target:
        tags = tuple(map(language_tag, recipe.data.target_languages))
        config = config.model_copy(update={"user_symbols": (*config.user_symbols, *tags)})
    if config.joint:
        joint = Tokenizer.train(source + target, config)
        return Tokenizers(joint, joint)
    return Tokenizers(Tokenizer.train(source, config), Tokenizer.train(target, recipe.tokenizer))


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
