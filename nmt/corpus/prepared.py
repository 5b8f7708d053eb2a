"""A prepared corpus: the folder that `nmt prepare` writes and training reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nmt.corpus.encoded import EncodedCorpus, read_corpus
from nmt.corpus.lazy_lines import LazyLines, mapped_lines
from nmt.corpus.testset import TestSet, tagged
from nmt.corpus.tokenizer import Tokenizers
from nmt.errors import DataError
from nmt.runtime.untrusted import read_object


@dataclass(frozen=True)
class Prepared:
    """A folder with encoded train and validation pairs, the tokenizers, and the test sets as text."""

    folder: Path

    def __post_init__(self) -> None:
        if not (self.folder / "report.json").exists():
            raise DataError(f"{self.folder}: not a prepared corpus")

    @cached_property
    def report(self) -> dict[str, Any]:
        """The report of `nmt prepare`: what was read, dropped and found."""
        return read_object(self.folder / "report.json")

    @cached_property
    def tokenizers(self) -> Tokenizers:
        """The tokenizers of the two sides."""
        return Tokenizers.load(self.folder)

    @cached_property
    def train(self) -> EncodedCorpus:
        """Encoded training pairs, then lines without translations, each as both source and target."""
        return read_corpus(self.folder / "train.arrow")

    @cached_property
    def pairs(self) -> EncodedCorpus:
        """Encoded training pairs alone."""
        return self.train.rows(0, sum(self.parts)) if self.mono else self.train

    @property
    def parts(self) -> list[int]:
        """Number of training pairs of each corpus."""
        return [part["pairs"] for part in self.report.get("parts", [])]

    @property
    def mono(self) -> list[int]:
        """Number of lines of each text without translations."""
        return [part["lines"] for part in self.report.get("mono", {}).get("parts", [])]

    @cached_property
    def valid(self) -> EncodedCorpus:
        """Encoded validation pairs."""
        return read_corpus(self.folder / "valid.arrow")

    def training_text(self) -> TestSet:
        """The text of the training pairs and then of the lines without translations, row for row, all in memory."""
        return TestSet.load(self.folder, "train")

    def tagged_sources(self) -> LazyLines:
        """The sources of `training_text` behind the tags of their target languages, if they have any, read when asked for."""
        lines, path = mapped_lines(self.folder / "train.source"), self.folder / "train.languages"
        if not path.exists():
            return lines
        languages = mapped_lines(path)
        return LazyLines(lambda row: tagged(lines[row], languages[row]), range(len(lines)))

    def pairs_source(self) -> LazyLines:
        """The sources of the training pairs alone, row for row, read when asked for."""
        lines = mapped_lines(self.folder / "train.source")
        return lines[: sum(self.parts)] if self.mono else lines

    @property
    def fingerprint(self) -> str:
        """Identity of the training and validation data, wherever the folder is; test sets do not count."""
        return str(self.report["fingerprint"])

    def testsets(self) -> list[str]:
        """Names of the test sets; `valid` is one of them."""
        return sorted(self.report["testsets"])

    def testset(self, name: str) -> TestSet:
        """Returns a test set as text.

        Raises:
            DataError: there is no test set of that name.
        """
        folder = self.folder / "testsets"
        if name not in self.testsets():
            raise DataError(f"no test set {name}; this corpus has {', '.join(self.testsets())}")
        found = TestSet.load(folder, name)
        return replace(found, tokenize=self.report["tokenizations"][name], lowercase=self.report["lowercase"])
