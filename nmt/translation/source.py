"""Lines on their way into a model: sources in, targets that are given too, as the tokens that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nmt.config.recipe import Recipe
from nmt.corpus.lines import clean_line, has_control, split_long
from nmt.corpus.tokenizer import UNK, Tokenizer, language_tag
from nmt.corpus.words import lower
from nmt.errors import ConfigError
from nmt.translation.result import Options, Report, Start

_CHARACTERS = 32  # for each token of the limit; a line of no more is tokenised at once


@dataclass(frozen=True)
class Encoded:
    """Some lines, or the parts of lines that are split."""

    ids: list[list[int]]
    """Tokens of each part; none of a blank line."""
    owners: list[int]
    """The line that each is of."""
    texts: list[str]
    """Each as text."""


class SourceText:
    """Makes tokens of lines to be translated; what is cut or mended is counted."""

    def __init__(self, tokenizer: Tokenizer, recipe: Recipe, options: Options, report: Report) -> None:
        """For a model and what was asked of it.

        Raises:
            ConfigError: the language wanted is not the model's.
        """
        self.tokenizer, self.recipe, self.options, self.report = tokenizer, recipe, options, report
        self._tags = tuple(map(language_tag, recipe.data.target_languages))
        self._tag = self._language_tag()
        self._bare = tokenizer.encode(self._tags) if self._tag else []  # tags of lines that say nothing

    def encoded(self, lines: Sequence[str]) -> Encoded:
        """The lines; those that are longer than the limit are cut, or split."""
        self.report.lines += len(lines)
        self.report.mended += sum(map(has_control, lines))
        found = self.tokens(lines)
        self.report.blank += sum(not tokens for tokens in found)
        if all(len(tokens) <= self.options.max_source for tokens in found):
            return Encoded(found, list(range(len(lines))), list(lines))
        ids: list[list[int]] = []
        owners: list[int] = []
        texts: list[str] = []
        for index, (line, tokens) in enumerate(zip(lines, found, strict=True)):
            too_long = len(tokens) > self.options.max_source
            parts, pieces = [tokens], [line]
            if too_long and self.options.long_lines == "split":
                self.report.source_split += 1
                pieces = self._split(clean_line(line))
                parts = self.tokens(pieces)
            ids += [self._cut(part) for part in parts]
            owners += [index] * len(parts)
            texts += pieces
        return Encoded(ids, owners, texts)

    def cut(self, lines: Sequence[str]) -> list[list[int]]:
        """Tokens of the lines, as many as the limit allows."""
        self.report.lines += len(lines)
        self.report.mended += sum(map(has_control, lines))
        return [self._cut(tokens) for tokens in self.tokens(lines)]

    def tokens(self, lines: Sequence[str]) -> list[list[int]]:
        """Token ids of sources; where the model translates into several languages, behind the tag of the one wanted.

        They are all tokens of a line up to the limit, and at least one more where the line goes on.
        """
        found = self.tokenizer.encode([self._enough(self._as_source(line)) for line in lines])
        return [[] if tokens in self._bare else tokens for tokens in found]

    def is_cut(self, line: str) -> bool:
        """Whether a line is longer than the limit, so that only its beginning is read."""
        return len(self.tokens([line])[0]) > self.options.max_source

    def pieces(self, line: str) -> tuple[list[str], int]:
        """Tokens of a line as they stand in it, and how many tokens come before them: a tag that it does not have."""
        text = self._as_source(line)
        added = text.startswith(self._tag) and not clean_line(line).startswith(self._tags)
        tag = len(self.tokenizer.encode([self._tag])[0]) if added else 0
        return self.tokenizer.encode_pieces([self._enough(text)])[0][tag : self.options.max_source], tag

    def _enough(self, text: str) -> str:
        """The beginning of a giant line, up to a space, that holds more tokens than the limit; another line as it is."""
        width = _CHARACTERS * self.options.max_source
        while width < len(text) and (end := text.find(" ", width)) >= 0:
            if len(self.tokenizer.encode([text[:end]])[0]) > self.options.max_source:
                return text[:end]
            width = 4 * end
        return text

    def _as_source(self, line: str) -> str:
        """A source as the model knows it: cleaned, and behind the tag of the language wanted if it has none itself."""
        text = clean_line(line)
        tag = self._own_tag(text)
        text = _in_case(text[len(tag) :], self.recipe.data.source, self.recipe)
        return f"{self._tag} {text}" if self._tag and text and not tag else tag + text

    def _own_tag(self, text: str) -> str:
        return next((tag for tag in self._tags if text.startswith(tag)), "") if self._tag else ""

    def _language_tag(self) -> str:
        """What sources begin with if they do not say so themselves; empty for a model of one language."""
        data, wanted = self.recipe.data, self.options.target_language
        languages = data.target_languages
        if wanted is not None and wanted not in languages:
            raise ConfigError(f"this model translates into {', '.join(languages)}, not into {wanted}")
        return language_tag(wanted or data.target) if data.tag_target else ""

    def _split(self, text: str) -> list[str]:
        """The parts of a line that fit the limit, each behind the tag of the line if that has one."""
        tag = self._own_tag(text)
        before = f"{tag} " if tag else ""
        parts = split_long(text[len(tag) :].strip(), lambda part: not self.is_cut(before + part))
        return [before + part for part in parts]

    def _cut(self, tokens: list[int]) -> list[int]:
        self.report.source_cut += len(tokens) > self.options.max_source
        return tokens[: self.options.max_source]


class TargetText:
    """Makes tokens of target lines that are given: to be scored, to begin with, to be looked at."""

    def __init__(self, tokenizer: Tokenizer, recipe: Recipe, options: Options, report: Report) -> None:
        self.tokenizer, self.recipe, self.report = tokenizer, recipe, report
        self.language = options.target_language or recipe.data.target

    def cleaned(self, line: str) -> str:
        """A line as the model knows text: without control characters, and lower-cased if it was trained so."""
        return _in_case(clean_line(line), self.language, self.recipe)

    def tokens(self, lines: Sequence[str]) -> list[list[int]]:
        """Token ids of the lines."""
        return self.tokenizer.encode([self.cleaned(line) for line in lines])

    def pieces(self, lines: Sequence[str]) -> list[list[str]]:
        """Tokens of the lines as they stand in them."""
        return self.tokenizer.encode_pieces([self.cleaned(line) for line in lines])

    def starts(self, prefixes: Sequence[str]) -> list[Start]:
        """What translations begin with; characters that the model does not know stand in their text as they are written."""
        pairs = zip(self.tokens(prefixes), self.pieces(prefixes), strict=True)
        starts = [Start(tokens, pieces if UNK in tokens else []) for tokens, pieces in pairs]
        self.report.unknown_prefixes += sum(bool(start.pieces) for start in starts)
        return starts


def _in_case(text: str, language: str, recipe: Recipe) -> str:
    return lower(text, language) if recipe.data.lowercase else text
