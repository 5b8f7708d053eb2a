"""A prepared corpus: the folder that `nmt prepare` makes and training reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nmt.config.paths import NEW, model_root, taken_tokenizer
from nmt.config.recipe import Recipe, Tokenization
from nmt.corpus.encoded import EncodedCorpus, read_corpus
from nmt.corpus.lines import read_lines, write_lines
from nmt.corpus.tokenizer import Tokenizer, language_tag
from nmt.corpus.words import count_words
from nmt.errors import ConfigError, DataError
from nmt.runtime.untrusted import read_object


@dataclass(frozen=True)
class Tokenizers:
    """The tokenizer of each side; one and the same for a joint vocabulary."""

    source: Tokenizer
    target: Tokenizer

    @classmethod
    def load(cls, folder: Path) -> Tokenizers:
        """Reads `joint.spm`, or `source.spm` and `target.spm`."""
        joint = folder / "joint.spm"
        if joint.exists():
            tokenizer = Tokenizer.load(joint)
            return cls(tokenizer, tokenizer)
        return cls(Tokenizer.load(folder / "source.spm"), Tokenizer.load(folder / "target.spm"))

    def save(self, folder: Path) -> None:
        """Writes what `load` reads."""
        if self.source is self.target:
            self.source.save(folder / "joint.spm")
            return
        self.source.save(folder / "source.spm")
        self.target.save(folder / "target.spm")

    @classmethod
    def taken(cls, recipe: Recipe) -> Tokenizers | None:
        """Those of the model whose tokenizer a recipe takes; None where it trains its own.

        Raises:
            CheckpointError: there is no such model.
            ConfigError: they do not fit the recipe.
        """
        model = taken_tokenizer(recipe.model_dump())
        if model is None:
            return None
        found = cls.load(model_root(Path(model)))
        way_out = f"; tokenizer.model = '{NEW}' trains another"
        if recipe.model.tie == "all" and found.source is not found.target:
            raise ConfigError(f"model.tie = 'all' needs one vocabulary, and {model} has two{way_out}")
        tags = [language_tag(language) for language in recipe.data.target_languages] if recipe.data.tag_target else []
        if unknown := next((tag for tag in tags if tag not in found.source.pieces()), None):
            raise ConfigError(f"data.tag_target: the tokenizer of {model} has no {unknown}{way_out}")
        return found

    @property
    def description(self) -> str:
        """For people: pieces of each side."""
        sides = [self.source] if self.source is self.target else [self.source, self.target]
        return " and ".join(f"{side.vocabulary_size:,}" for side in sides) + " pieces"

    @property
    def sizes(self) -> tuple[int, int]:
        """Tokens of each side."""
        return self.source.vocabulary_size, self.target.vocabulary_size

    @property
    def fingerprints(self) -> dict[str, str]:
        """Identity of each side."""
        return {"source": self.source.fingerprint, "target": self.target.fingerprint}


@dataclass(frozen=True)
class TestSet:
    """Aligned lines of text."""

    __test__ = False  # not a test for pytest to collect

    name: str
    source: list[str]
    target: list[str]
    tokenize: Tokenization = "13a"
    """How sacreBLEU splits its words."""
    lowercase: bool = False
    """Whether its scores are lower-cased ones, and its text is."""
    languages: Sequence[str] = ()
    """Target language of each line, where a model is told it by a tag (`data.tag_target`)."""

    @classmethod
    def read(cls, name: str, source: Path, target: Path) -> TestSet:
        """Reads two files of one line a segment.

        Raises:
            DataError: a file is missing, not UTF-8, or the two differ in length.
        """
        pair = cls(name, read_lines(source), read_lines(target))
        pair.check(str(source), str(target))
        return pair

    @property
    def tagged(self) -> list[str]:
        """Sources as such a model reads them, behind the tags of their target languages; blank ones stay blank."""
        if not self.languages:
            return self.source
        both = zip(self.source, self.languages, strict=True)
        return [f"{language_tag(language)} {line}" if line else "" for line, language in both]

    @classmethod
    def load(cls, folder: Path, name: str) -> TestSet:
        """Reads what `write` has written."""
        languages = folder / f"{name}.languages"
        found = cls.read(name, folder / f"{name}.source", folder / f"{name}.target")
        return replace(found, languages=read_lines(languages)) if languages.exists() else found

    def write(self, folder: Path) -> None:
        """Writes a file for each side, and one of the languages if there are any, named after the test set."""
        write_lines(folder / f"{self.name}.source", self.source)
        write_lines(folder / f"{self.name}.target", self.target)
        if self.languages:
            write_lines(folder / f"{self.name}.languages", self.languages)

    def check(self, source: str, target: str) -> None:
        """Refuses sides of unequal length, with both counts and the last line they share."""
        if len(self.source) != len(self.target):
            common = min(len(self.source), len(self.target))
            raise DataError(
                f"{source} has {len(self.source)} lines but {target} has {len(self.target)}; the last line of both is {common}"
            )

    def spread(self, count: int) -> list[int]:
        """Rows to show: at most so many, from short sources to long ones; blank ones are left out."""
        filled = [row for row, line in enumerate(self.source) if line]
        order = sorted(filled, key=lambda row: count_words(self.source[row]))
        count = min(count, len(order))
        return [order[(2 * index + 1) * len(order) // (2 * count)] for index in range(count)]


@dataclass(frozen=True)
class Prepared:
    """A folder with encoded train and validation pairs, the tokenizers, and the test sets as text."""

    folder: Path

    def __post_init__(self) -> None:
        if not (self.folder / "report.json").exists():
            raise DataError(f"{self.folder}: not a prepared corpus")

    @cached_property
    def report(self) -> dict[str, Any]:
        """What was read, dropped and found."""
        return read_object(self.folder / "report.json")

    @cached_property
    def tokenizers(self) -> Tokenizers:
        """The tokenizers of the two sides."""
        return Tokenizers.load(self.folder)

    @cached_property
    def train(self) -> EncodedCorpus:
        """Encoded training pairs."""
        return read_corpus(self.folder / "train.arrow")

    @cached_property
    def valid(self) -> EncodedCorpus:
        """Encoded validation pairs."""
        return read_corpus(self.folder / "valid.arrow")

    def training_text(self) -> TestSet:
        """The text of the training pairs, row for row."""
        return TestSet.load(self.folder, "train")

    @property
    def fingerprint(self) -> str:
        """Identity of what is trained on and validated with, wherever it lies; test sets are no part of it."""
        return str(self.report["fingerprint"])

    def testsets(self) -> list[str]:
        """Names of the test sets; `valid` is one of them."""
        return sorted(self.report["testsets"])

    def testset(self, name: str) -> TestSet:
        """A test set as text.

        Raises:
            DataError: there is none of that name.
        """
        folder = self.folder / "testsets"
        if name not in self.testsets():
            raise DataError(f"no test set {name}; this corpus has {', '.join(self.testsets())}")
        found = TestSet.load(folder, name)
        return replace(found, tokenize=self.report["tokenizations"][name], lowercase=self.report["lowercase"])
