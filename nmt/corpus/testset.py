"""Test sets: aligned lines of text, and the way to count their words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nmt.config.data import Tokenization
from nmt.corpus.lines import read_lines, write_lines
from nmt.corpus.tokenizer import language_tag
from nmt.corpus.words import count_words
from nmt.errors import DataError

_MARKUP = re.compile(r"\s*<(\?xml|!doctype|srcset|refset|tstset|dataset|tmx|xliff)\b", re.IGNORECASE)
"""How files of WMT and of localisation begin."""


@dataclass(frozen=True)
class TestSet:
    """Aligned lines of text."""

    __test__ = False  # not a test for pytest to collect

    name: str
    source: list[str]
    target: list[str]
    tokenize: Tokenization = "13a"
    """sacreBLEU's way to split words for BLEU."""
    lowercase: bool = False
    """Whether text and scores are lower-cased."""
    languages: Sequence[str] = ()
    """Target language of each line, for models that are told by a tag (`data.tag_target`)."""

    @classmethod
    def read(cls, name: str, source: str | Path, target: str | Path) -> TestSet:
        """Reads two files with one segment per line.

        Raises:
            DataError: a file is missing, not UTF-8 or not plain text, or the two differ in length.
        """
        pair = cls._read(name, source, target)
        for path, lines in ((source, pair.source), (target, pair.target)):
            if lines and _MARKUP.match(lines[0]):
                raise DataError(f"{path}: is XML or SGML; a test set is plain text, one segment a line")
        return pair

    @classmethod
    def _read(cls, name: str, source: str | Path, target: str | Path) -> TestSet:
        pair = cls(name, read_lines(Path(source)), read_lines(Path(target)))
        pair.check(str(source), str(target))
        return pair

    def first(self, count: int | None) -> TestSet:
        """Returns the test set with its first lines alone; None: all of them."""
        return replace(self, source=self.source[:count], target=self.target[:count], languages=self.languages[:count])

    @property
    def tagged(self) -> list[str]:
        """Sources behind the tags of their target languages, if there are any; blank lines stay blank."""
        if not self.languages:
            return self.source
        return [tagged(*both) for both in zip(self.source, self.languages, strict=True)]

    @classmethod
    def load(cls, folder: str | Path, name: str) -> TestSet:
        """Reads the files that `write` writes.

        Raises:
            DataError: as in `read`; text that looks like markup is text there.
        """
        folder = Path(folder)
        languages = folder / f"{name}.languages"
        found = cls._read(name, folder / f"{name}.source", folder / f"{name}.target")
        return replace(found, languages=read_lines(languages)) if languages.exists() else found

    def write(self, folder: str | Path) -> None:
        """Writes a file for each side, and one for the languages if there are any, named after the test set."""
        folder = Path(folder)
        write_lines(folder / f"{self.name}.source", self.source)
        write_lines(folder / f"{self.name}.target", self.target)
        if self.languages:
            write_lines(folder / f"{self.name}.languages", self.languages)

    def check(self, source: str, target: str) -> None:
        """Checks that both sides have the same length; the error gives both counts and the last common line.

        Raises:
            DataError: they differ.
        """
        if len(self.source) != len(self.target):
            common = min(len(self.source), len(self.target))
            raise DataError(
                f"{source} has {len(self.source)} lines but {target} has {len(self.target)}; the last line of both is {common}"
            )

    def spread(self, count: int) -> list[int]:
        """Chooses at most `count` rows to show, from short to long sources, without blank ones."""
        filled = [row for row, line in enumerate(self.source) if line]
        order = sorted(filled, key=lambda row: count_words(self.source[row]))
        count = min(count, len(order))
        return [order[(2 * index + 1) * len(order) // (2 * count)] for index in range(count)]


def tagged(line: str, language: str) -> str:
    """Returns a line behind the tag of its target language; a blank line stays blank."""
    return f"{language_tag(language)} {line}" if line else ""
