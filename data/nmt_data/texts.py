"""The text of all corpora of a recipe: read, cleaned, held out and audited."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from nmt.config.data import DataConfig, Tokenization
from nmt.config.recipe import Recipe
from nmt.corpus.lines import clean_line
from nmt.corpus.normalising import as_trained
from nmt.corpus.testset import TestSet
from nmt.corpus.words import lower
from nmt.errors import DataError
from nmt.runtime.stages import counted
from nmt_data.account import Account
from nmt_data.audit import Text
from nmt_data.dropped import Trace
from nmt_data.gathering import Gathered, gather
from nmt_data.means import Means
from nmt_data.parts import Part
from nmt_data.reading import Split, Unreadable
from nmt_data.selecting import (
    Selection,
    audit,
    drop_improbable,
    drop_near,
    drop_repeated,
    drop_unaligned,
    hold_out_pairs,
)
from nmt_data.splits import check_testset, interleaved
from nmt_data.streams import Stream, streams_of
from nmt_data.unfinished import Unfinished

Say = Callable[[str], None]
"""Receives a line about each step."""
_TESTSETS = "testsets"


@dataclass(frozen=True)
class Texts:
    """A corpus as text, cleaned and split."""

    selection: Selection
    """Pairs of all corpora, then lines without translations, each as both source and target."""
    streams: list[Stream]
    folder: Path
    """Holds the test sets."""
    report: dict[str, Any]

    @property
    def pairs(self) -> int:
        """Number of training pairs that are translations."""
        return int(self.report["train"]["kept"])

    @property
    def lines(self) -> int:
        """Number of lines without translations."""
        return int(self.report.get("mono", {"kept": 0})["kept"])

    def testsets(self) -> list[TestSet]:
        """Returns the test sets, `valid` first."""
        return [TestSet.load(self.folder / _TESTSETS, name) for name in self.report["testsets"]]


@dataclass(frozen=True)
class _Given:
    """The test sets that cards name, and what their files hold beside pairs."""

    testsets: dict[int, list[TestSet]]
    """By corpus."""
    left_out: dict[str, dict[str, int]]
    """How many entries gave no pair, by test set and kind."""


@dataclass(frozen=True)
class TextReader:
    """Reads the text of a recipe."""

    recipe: Recipe
    parts: Sequence[Part]
    means: Means
    say: Say
    trace: Trace | None = None
    """Receives all dropped pairs."""

    def read(self, work: Unfinished, check: Callable[[], None]) -> Texts:
        """Reads, cleans, holds out and audits, unless an earlier process has done that.

        Args:
            work: keeps the stages.
            check: raises if the files were changed meanwhile; called when all are read.

        Raises:
            DataError: a corpus cannot be read or used.
        """
        streams = streams_of(self.recipe.data, self.parts)
        given = self._testsets()

        def read(draft: Path) -> dict[str, Any]:
            record = gather(draft, streams, self.recipe.data, self.means, self.trace)
            check()
            return record

        gathered = Gathered.of(*work.stage("read", read))
        folder, report = work.stage("selected", lambda draft: self._select(draft, gathered, streams, given))
        return Texts(Selection(gathered, streams, folder / "kept"), streams, folder, report)

    def _testsets(self) -> _Given:
        """Reads the test sets of each corpus, unchanged: no pair is dropped, and bad text is always an error.

        Blank lines of a table and what nobody has translated are no pairs; they are counted.
        """
        given, left_out = dict[int, list[TestSet]](), dict[str, dict[str, int]]()
        for index, part in enumerate(self.parts):
            if part in self.parts[:index]:  # a corpus that is listed twice has the same test sets
                continue
            given[index] = []
            for split in part.splits():
                if split.name != "train":
                    unreadable = Unreadable()
                    given[index].append(self._testset(split, unreadable))
                    if counts := unreadable.counts():
                        left_out[f"{part.card.name} {part.direction}, {split.name}"] = counts
        for name, counts in left_out.items():
            self.say(f"corpus {name}: {told_left_out(counts)}")
        names = {testset.name for testsets in given.values() for testset in testsets}
        if "valid" not in names and not any(self.parts[index].card.holdout.valid for index in given):
            raise DataError(
                f"corpus {self.parts[0].card.name} has no validation split; give it holdout.valid = 1000, say"
            )
        for index, testsets in given.items():
            for testset in testsets:
                check_testset(testset, self.parts[index].card.name, self.say)
        return _Given(given, left_out)

    def _testset(self, split: Split, unreadable: Unreadable) -> TestSet:
        pairs = list(counted(split.read(unreadable), f"reading {split.name}", unit="pairs"))
        source = [self._case(clean_line(line), split.source) for line, _ in pairs]
        return TestSet(split.name, source, [self._case(clean_line(line), split.target) for _, line in pairs])

    def _case(self, text: str, language: str) -> str:
        return lower(text, language) if self.recipe.data.lowercase else text

    def _select(self, draft: Path, gathered: Gathered, streams: Sequence[Stream], given: _Given) -> dict[str, Any]:
        """Selects the pairs to train on; writes their masks and the test sets, and returns the report."""
        cleaning = self.recipe.data.cleaning
        selection = Selection(gathered, streams, draft / "kept", self.trace)
        if cleaning.duplicates != "keep":
            drop_repeated(selection, self.means.memory // 4)
        if cleaning.near_duplicates is not None:
            drop_near(selection, cleaning.near_duplicates, self.means.memory // 4)
        if cleaning.min_alignment is not None:
            drop_unaligned(selection, cleaning.min_alignment, self.means)
        if cleaning.score_with is not None:
            drop_improbable(selection, self.recipe.data)
        cards = {index: card for index in given.testsets if (card := self.parts[index].card).holdout.total}
        own = hold_out_pairs(selection, cards, self.means)
        for index, testsets in own.items():
            for testset in testsets:
                check_testset(testset, cards[index].name, self.say)
        found = [
            (self.parts[index], testset)
            for index, testsets in given.testsets.items()
            for testset in (*testsets, *own.get(index, ()))
        ]
        held_out = [_as_text(self.parts[index], testset, self.recipe.data) for index in own for testset in own[index]]
        testsets, texts = _named(found, self.recipe.data)
        audited = audit(selection, held_out, texts, cleaning.drop_leaked, self.means)
        (draft / _TESTSETS).mkdir()
        for testset in testsets:
            testset.write(draft / _TESTSETS)
        account = Account(selection)
        pairs = account.of(mono=False)
        if not pairs["kept"]:
            name = self.parts[0].card.name
            raise DataError(f"corpus {name}: no training pair is left after cleaning ({pairs['dropped']})")
        account.check_lines()
        report = _report(self.recipe, self.parts, account.kept, testsets) | {
            "train": {**pairs, "longest_source_words": max(audited.longest[part] for part in range(len(self.parts)))},
            "found_in_train": [leak.as_dict() for leak in audited.leaks],
        }
        if given.left_out:
            report["left_out"] = given.left_out
        if self.recipe.data.mono:
            report["mono"] = account.of(mono=True) | {"parts": account.parts()}
        return report


def told_left_out(counts: Mapping[str, int]) -> str:
    """Says for people what of a file gave no pair."""
    return "left out: " + ", ".join(f"{count:,} ({kind})" for kind, count in counts.items())


def _report(recipe: Recipe, parts: Sequence[Part], sizes: Sequence[int], testsets: Sequence[TestSet]) -> dict[str, Any]:
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
            {"corpus": part.card.name, "direction": part.direction, "pairs": size}
            for part, size in zip(parts, sizes, strict=False)
        ],
        "testsets": {testset.name: len(testset.source) for testset in testsets},
        "leaks_dropped": recipe.data.cleaning.drop_leaked,
    }


def _as_text(part: Part, testset: TestSet, data: DataConfig) -> Text:
    """Returns the pairs of a test set, written as those of the training text are."""
    sides = zip(part.languages, (testset.source, testset.target), strict=True)
    source, target = ([as_trained(line, language, data) for line in lines] for language, lines in sides)
    return Text(*part.languages, list(zip(source, target, strict=True)))


def _named(found: Sequence[tuple[Part, TestSet]], data: DataConfig) -> tuple[list[TestSet], dict[str, list[Text]]]:
    """Returns the test sets of all corpora, with one joint validation set first, and the text of each by name."""
    valids: list[TestSet] = []
    others: dict[str, TestSet] = {}
    texts: dict[str, list[Text]] = {"valid": []}
    for part, item in found:
        languages = [part.target] * len(item.source) if data.tag_target else []
        testset = replace(item, tokenize=part.tokenize, languages=languages)
        if testset.name == "valid":
            valids.append(testset)
            texts["valid"].append(_as_text(part, testset, data))
        else:
            name = _free_name(testset.name, part, others)
            others[name] = replace(testset, name=name)
            texts[name] = [_as_text(part, testset, data)]
    valid = replace(interleaved(valids), tokenize=_validation_tokenization([part for part, _ in found]))
    return [valid, *others.values()], texts


def _free_name(name: str, part: Part, taken: Container[str]) -> str:
    """Returns a name for a test set that no earlier corpus has used."""
    longest = f"{name}.{part.card.name}.{part.direction}"
    numbered = (f"{longest}.{number}" for number in count(2))
    return next(item for item in chain((name, f"{name}.{part.direction}", longest), numbered) if item not in taken)


def _validation_tokenization(parts: Sequence[Part]) -> Tokenization:
    """Returns the tokenisation of the first corpus, unless another has a special one, which then splits all words."""
    return next((part for part in parts if part.tokenize not in ("13a", "none")), parts[0]).tokenize
