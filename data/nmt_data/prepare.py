"""From a corpus card to a folder that training reads: read, clean, split, audit, train tokenizers, encode."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from nmt.config.data import CorpusConfig, DataConfig, Tokenization
from nmt.config.paths import taken_tokenizer
from nmt.config.recipe import Recipe
from nmt.corpus.encoded import read_corpus, write_corpus
from nmt.corpus.lines import clean_line
from nmt.corpus.prepared import Prepared
from nmt.corpus.testset import TestSet
from nmt.corpus.tokenizer import UNK, Tokenizer, Tokenizers, language_tag
from nmt.corpus.words import count_words, lower
from nmt.errors import DataError
from nmt.runtime.files import (
    NAME_A_HOME,
    atomic_folder,
    check_output,
    clear_litter,
    file_sha256,
    fingerprint,
    home_folder,
    write_json,
)
from nmt.runtime.stages import counted, stage
from nmt.storage.manifest import broken, write_manifest
from nmt.training.batches import select
from nmt_data.audit import Pair, Text, audit
from nmt_data.cards import Card, load_card
from nmt_data.cleaning import Cleaner
from nmt_data.reading import Split, Unreadable
from nmt_data.splits import check_testset, hold_out, interleaved, testset_of

Say = Callable[[str], None]

_FORMAT = 7  # of the prepared folder; raising it makes all of them anew
_CHUNK = 10_000
_TOKENIZER_LINES = 2_000_000


@dataclass(frozen=True)
class _Texts:
    """A corpus as text, cleaned and split."""

    train: TestSet
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
    parts, taken = _parts(recipe), Tokenizers.taken(recipe)
    key = _fingerprint(recipe, parts, taken)
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
    texts = _read(recipe, parts, say)
    if _fingerprint(recipe, _parts(recipe), taken) != key:
        raise DataError(f"corpus {parts[0].card.name} was changed while it was read; start again")
    if taken:
        say(f"taking the tokenizer of {taken_tokenizer(recipe.model_dump())}: {taken.description}")
    else:
        say(f"training the tokenizer on {len(texts.train.source)} pairs")
    tokenizers = taken or _train_tokenizers(recipe, texts.train)
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
    """The corpus, if validation has pairs within the length limit.

    Raises:
        DataError: it has none.
    """
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


@dataclass(frozen=True)
class _Part:
    """One corpus in one direction."""

    card: Card
    source: str
    target: str

    @property
    def languages(self) -> tuple[str, str]:
        return self.source, self.target

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


def _fingerprint(recipe: Recipe, parts: Sequence[_Part], taken: Tokenizers | None) -> str:
    """Of all that the result depends on: settings, cards, and the bytes of local files; not of where these lie."""
    cards = [
        {"card": part.card.model_dump(mode="json", exclude={"folder"}), "files": _hashes(part), "to": part.direction}
        for part in parts
    ]
    mixing = {"weight", "temperature"}  # decide on what is drawn from the corpora, not on what they hold
    data = recipe.data.model_dump(mode="json", exclude={*mixing, "corpus", "more"})
    tokenizer = recipe.tokenizer.model_dump(mode="json", exclude={"model"})
    if taken:
        tokenizer = {"taken": [hashlib.sha256(side.model).hexdigest() for side in (taken.source, taken.target)]}
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


def _read(recipe: Recipe, parts: Sequence[_Part], say: Say) -> _Texts:
    unreadable = Unreadable(skip=recipe.data.on_bad_text == "skip")
    cleaner, reader = Cleaner(recipe.data.cleaning), _Reader(recipe, unreadable)
    trains: list[Text] = []
    found: list[tuple[_Part, TestSet]] = []
    held_out: list[Text] = []
    for index, part in enumerate(parts):
        train, own = Text(*part.languages, list(cleaner.clean(reader.train(part), part.languages))), list[TestSet]()
        if part not in parts[:index]:  # a corpus that is listed again has the same test sets
            train, own = hold_out(train, part.card)
            held_out += [_as_text(part, testset) for testset in own]
            found += [(part, testset) for testset in (*reader.testsets(part), *own)]
        trains.append(train)
    if not any(testset.name == "valid" for _, testset in found):
        raise DataError(f"corpus {parts[0].card.name} has no validation split; give it holdout.valid = 1000, say")
    for part, testset in found:
        check_testset(testset, part.card.name, say)
    trains = cleaner.without(trains, held_out, "shares a side with a held-out pair")
    testsets, texts = _named(found, recipe.data.tag_target)
    with stage("looking for test sentences in train"):
        leaks = audit(trains, texts)
    if recipe.data.cleaning.drop_leaked:
        trains = cleaner.without(trains, [text for part in texts.values() for text in part], "in a test set")
    counts = reader.account(cleaner, sum(len(text.pairs) for text in held_out), sum(len(text.pairs) for text in trains))
    if not counts["kept"]:
        raise DataError(f"corpus {parts[0].card.name}: no training pair is left after cleaning ({counts['dropped']})")
    first, pairs = parts[0], _joined(trains, recipe.data.tag_target)
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
            {"corpus": part.card.name, "direction": part.direction, "pairs": len(text.pairs)}
            for part, text in zip(parts, trains, strict=True)
        ],
        "train": {**counts, "longest_source_words": max(map(count_words, pairs.source))},
        "testsets": {testset.name: len(testset.source) for testset in testsets},
        "found_in_train": [leak.as_dict() for leak in leaks],
        "leaks_dropped": recipe.data.cleaning.drop_leaked,
    }
    return _Texts(pairs, testsets, report)


def _as_text(part: _Part, testset: TestSet) -> Text:
    return Text(*part.languages, list(zip(testset.source, testset.target, strict=True)))


def _named(found: Sequence[tuple[_Part, TestSet]], tagged: bool) -> tuple[list[TestSet], dict[str, list[Text]]]:
    """The test sets of all corpora, validation first and made one, and the text of each by its name."""
    valids: list[TestSet] = []
    others: dict[str, TestSet] = {}
    texts: dict[str, list[Text]] = {"valid": []}
    for part, item in found:
        languages = [part.target] * len(item.source) if tagged else []
        testset = replace(item, tokenize=part.tokenize, languages=languages)
        if testset.name == "valid":
            valids.append(testset)
            texts["valid"].append(_as_text(part, testset))
        else:
            name = _free_name(testset.name, part, others)
            others[name] = replace(testset, name=name)
            texts[name] = [_as_text(part, testset)]
    valid = replace(interleaved(valids), tokenize=_validation_tokenization([part for part, _ in found]))
    return [valid, *others.values()], texts


def _free_name(name: str, part: _Part, taken: Container[str]) -> str:
    """A name for a test set that no corpus before has used."""
    longest = f"{name}.{part.card.name}.{part.direction}"
    numbered = (f"{longest}.{number}" for number in count(2))
    return next(item for item in chain((name, f"{name}.{part.direction}", longest), numbered) if item not in taken)


def _joined(trains: Sequence[Text], tagged: bool) -> TestSet:
    """The training pairs of all corpora, with the target language of each pair if sources are tagged."""
    train = testset_of("train", [pair for text in trains for pair in text.pairs])
    return replace(train, languages=[text.target for text in trains for _ in text.pairs]) if tagged else train


@dataclass
class _Reader:
    """Reads the splits of corpora as a recipe wants them: lower-cased, limited, tagged."""

    recipe: Recipe
    unreadable: Unreadable
    count: int = 0
    """Training pairs read."""

    def train(self, part: _Part) -> Iterator[Pair]:
        split = next(split for split in part.splits() if split.name == "train")
        pairs = islice(split.read(self.unreadable), self.recipe.data.limit)
        for source, target in counted(pairs, f"reading {part.card.name}", unit="pairs"):
            self.count += 1
            yield self._case(source, part.source), self._case(target, part.target)

    def account(self, cleaner: Cleaner, held_out: int, kept: int) -> dict[str, Any]:
        """What became of all training pairs that were read; none is unaccounted for."""
        dropped = {**self.unreadable.counts(), **cleaner.dropped}
        read = self.count + sum(self.unreadable.counts().values())
        if read != kept + held_out + sum(dropped.values()):
            raise AssertionError(f"{read} pairs read, but {kept} kept, {held_out} held out and dropped {dropped}")
        return {"read": read, "kept": kept, "held_out": held_out, "dropped": dropped, "mended": dict(cleaner.mended)}

    def testsets(self, part: _Part) -> list[TestSet]:
        """Test sets as they are: no line is dropped, and bad text is always an error."""
        return [self._testset(split) for split in part.splits() if split.name != "train"]

    def _testset(self, split: Split) -> TestSet:
        pairs = list(counted(split.read(Unreadable()), f"reading {split.name}", unit="pairs"))
        source = [self._case(clean_line(line), split.source) for line, _ in pairs]
        return TestSet(split.name, source, [self._case(clean_line(line), split.target) for _, line in pairs])

    def _case(self, text: str, language: str) -> str:
        return lower(text, language) if self.recipe.data.lowercase else text


def _validation_tokenization(parts: Sequence[_Part]) -> Tokenization:
    """That of the first corpus, unless another has a target language of its own way, which splits the others' words too."""
    return next((part for part in parts if part.tokenize not in ("13a", "none")), parts[0]).tokenize


def _train_tokenizers(recipe: Recipe, train: TestSet) -> Tokenizers:
    step = max(1, len(train.source) // _TOKENIZER_LINES)
    source, target = train.tagged[::step], train.target[::step]
    config = recipe.tokenizer
    if recipe.data.tag_target:
        tags = map(language_tag, recipe.data.target_languages)
        config = config.model_copy(update={"user_symbols": tuple(dict.fromkeys((*config.user_symbols, *tags)))})
    if config.joint:
        joint = Tokenizer.train(source + target, config)
        return Tokenizers(joint, joint)
    return Tokenizers(Tokenizer.train(source, config), Tokenizer.train(target, recipe.tokenizer))


def _write(folder: Path, texts: _Texts, tokenizers: Tokenizers) -> None:
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
