"""The text of all corpora of a recipe: read, cleaned, held out and audited."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from typing import Any

from nmt.config.data import Tokenization
from nmt.config.recipe import Recipe
from nmt.corpus.lines import clean_line
from nmt.corpus.testset import TestSet
from nmt.corpus.words import count_words, lower
from nmt.errors import DataError
from nmt.runtime.stages import counted, stage
from nmt_data.audit import Pair, Text, audit
from nmt_data.cleaning import Cleaner
from nmt_data.mono import MonoText, mono_sources
from nmt_data.parts import Part
from nmt_data.reading import Split, Unreadable
from nmt_data.splits import check_testset, hold_out, interleaved, testset_of

Say = Callable[[str], None]
"""Receives a line about each step."""


@dataclass(frozen=True)
class Texts:
    """A corpus as text, cleaned and split."""

    train: TestSet
    """Pairs of all corpora, then lines without translations, each as both source and target."""
    pairs: int
    """Number of training pairs that are translations."""
    testsets: list[TestSet]
    report: dict[str, Any]


def read_texts(recipe: Recipe, parts: Sequence[Part], say: Say) -> Texts:
    """Reads the corpora of a recipe, and says how many pairs are left.

    Raises:
        DataError: a corpus cannot be read or used.
    """
    unreadable = Unreadable(skip=recipe.data.on_bad_text == "skip")
    cleaner, reader = Cleaner(recipe.data.cleaning), _Reader(recipe, unreadable)
    trains: list[Text] = []
    found: list[tuple[Part, TestSet]] = []
    held_out: list[Text] = []
    for index, part in enumerate(parts):
        train, own = Text(*part.languages, list(cleaner.clean(reader.train(part), part.languages))), list[TestSet]()
        if part not in parts[:index]:  # a corpus that is listed twice has the same test sets
            train, own = hold_out(train, part.card)
            held_out += [_as_text(part, testset) for testset in own]
            found += [(part, testset) for testset in (*reader.testsets(part), *own)]
        trains.append(train)
    if not any(testset.name == "valid" for _, testset in found):
        raise DataError(f"corpus {parts[0].card.name} has no validation split; give it holdout.valid = 1000, say")
    for part, testset in found:
        check_testset(testset, part.card.name, say)
    mono = MonoText(recipe.data, mono_sources(recipe.data, parts[0].card))
    trains = cleaner.without(trains, held_out, "shares a side with a held-out pair")
    mono.without(held_out, "in a held-out pair")
    testsets, texts = _named(found, recipe.data.tag_target)
    with stage("looking for test sentences in train"):
        leaks = audit([*trains, *mono.texts], texts)
    if recipe.data.cleaning.drop_leaked:
        leaked = [text for part in texts.values() for text in part]
        trains = cleaner.without(trains, leaked, "in a test set")
        mono.without(leaked, "in a test set")
    counts = reader.account(cleaner, sum(len(text.pairs) for text in held_out), sum(len(text.pairs) for text in trains))
    if not counts["kept"]:
        raise DataError(f"corpus {parts[0].card.name}: no training pair is left after cleaning ({counts['dropped']})")
    mono.check()
    longest = max(count_words(source) for text in trains for source, _ in text.pairs)
    report = _report(recipe, parts, trains, testsets) | {
        "train": {**counts, "longest_source_words": longest},
        "found_in_train": [leak.as_dict() for leak in leaks],
    }
    if recipe.data.mono:
        report["mono"] = mono.report()
    return Texts(_joined([*trains, *mono.texts], recipe.data.tag_target), counts["kept"], testsets, report)


def _report(
    recipe: Recipe, parts: Sequence[Part], trains: Sequence[Text], testsets: Sequence[TestSet]
) -> dict[str, Any]:
    """Returns what the report says of the corpora and their test sets."""
    first = parts[0]
    return {
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
        "testsets": {testset.name: len(testset.source) for testset in testsets},
        "leaks_dropped": recipe.data.cleaning.drop_leaked,
    }


def _as_text(part: Part, testset: TestSet) -> Text:
    return Text(*part.languages, list(zip(testset.source, testset.target, strict=True)))


def _named(found: Sequence[tuple[Part, TestSet]], tagged: bool) -> tuple[list[TestSet], dict[str, list[Text]]]:
    """Returns the test sets of all corpora, with one joint validation set first, and the text of each by name."""
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


def _free_name(name: str, part: Part, taken: Container[str]) -> str:
    """Returns a name for a test set that no earlier corpus has used."""
    longest = f"{name}.{part.card.name}.{part.direction}"
    numbered = (f"{longest}.{number}" for number in count(2))
    return next(item for item in chain((name, f"{name}.{part.direction}", longest), numbered) if item not in taken)


def _joined(trains: Sequence[Text], tagged: bool) -> TestSet:
    """Joins the training pairs of all corpora, with the target language of each if sources are tagged."""
    train = testset_of("train", [pair for text in trains for pair in text.pairs])
    return replace(train, languages=[text.target for text in trains for _ in text.pairs]) if tagged else train


@dataclass
class _Reader:
    """Reads the splits of corpora as the recipe says: lower-cased, limited, tagged."""

    recipe: Recipe
    unreadable: Unreadable
    count: int = 0
    """Number of training pairs read."""

    def train(self, part: Part) -> Iterator[Pair]:
        split = next(split for split in part.splits() if split.name == "train")
        pairs = islice(split.read(self.unreadable), self.recipe.data.limit)
        for source, target in counted(pairs, f"reading {part.card.name}", unit="pairs"):
            self.count += 1
            yield self._case(source, part.source), self._case(target, part.target)

    def account(self, cleaner: Cleaner, held_out: int, kept: int) -> dict[str, Any]:
        """Accounts for every training pair read: kept, held out or dropped."""
        dropped = {**self.unreadable.counts(), **cleaner.dropped}
        read = self.count + sum(self.unreadable.counts().values())
        if read != kept + held_out + sum(dropped.values()):
            raise AssertionError(f"{read} pairs read, but {kept} kept, {held_out} held out and dropped {dropped}")
        return {"read": read, "kept": kept, "held_out": held_out, "dropped": dropped, "mended": dict(cleaner.mended)}

    def testsets(self, part: Part) -> list[TestSet]:
        """Reads test sets unchanged: no line is dropped, and bad text is always an error."""
        return [self._testset(split) for split in part.splits() if split.name != "train"]

    def _testset(self, split: Split) -> TestSet:
        pairs = list(counted(split.read(Unreadable()), f"reading {split.name}", unit="pairs"))
        source = [self._case(clean_line(line), split.source) for line, _ in pairs]
        return TestSet(split.name, source, [self._case(clean_line(line), split.target) for _, line in pairs])

    def _case(self, text: str, language: str) -> str:
        return lower(text, language) if self.recipe.data.lowercase else text


def _validation_tokenization(parts: Sequence[Part]) -> Tokenization:
    """Returns the tokenisation of the first corpus, unless another has a special one, which then splits all words."""
    return next((part for part in parts if part.tokenize not in ("13a", "none")), parts[0]).tokenize
