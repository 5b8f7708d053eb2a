"""Lines to token ids: sources, and targets that are given."""

from __future__ import annotations

from collections.abc import Sequence

from nmt.config.recipe import Recipe
from nmt.corpus.lines import clean_line, has_control, split_long
from nmt.corpus.normalising import as_trained
from nmt.corpus.rendering import renderer_of
from nmt.corpus.tokenizer import UNK, Tokenizer, language_tag
from nmt.errors import ConfigError
from nmt.translation.alignment import word_numbers
from nmt.translation.result import Encoded, Options, Report, Start

_CHARACTERS = 32  # characters per token of the limit; a line of no more is tokenised as a whole


class SourceText:
    """Converts source lines to tokens, and counts cuts and repairs."""

    def __init__(
        self, tokenizer: Tokenizer, recipe: Recipe, options: Options, report: Report, drawing: str | None = None
    ) -> None:
        """Takes a model's tokenizer and recipe, the options, and how the pictures of its training looked, if known.

        Raises:
            ConfigError: the model has no such target language.
        """
        self.tokenizer, self.recipe, self.options, self.report = tokenizer, recipe, options, report
        self._tags = tuple(map(language_tag, recipe.data.target_languages))
        self._tag = self._language_tag()
        model = recipe.model
        self._renderer = renderer_of(model.font, model.height, model.grid) if model.kind == "visual" else None
        self._redrawn = bool(drawing and self._renderer and self._renderer.fingerprint != drawing)
        self._bare = tokenizer.encode(self._tags) if self._tag else []  # tags of lines without words

    def encoded(self, lines: Sequence[str]) -> Encoded:
        """Encodes lines; those above the limit are cut or split."""
        self._count(lines)
        found = self.tokens(lines)
        self.report.blank += sum(not tokens for tokens in found)
        if all(len(tokens) <= self.options.max_source for tokens in found):
            return Encoded(found, list(range(len(lines))), list(lines), [False] * len(lines))
        ids: list[list[int]] = []
        owners: list[int] = []
        texts: list[str] = []
        cut: list[bool] = []
        for index, (line, tokens) in enumerate(zip(lines, found, strict=True)):
            too_long = len(tokens) > self.options.max_source
            parts, pieces = [tokens], [line]
            if too_long and self.options.long_lines == "split":
                self.report.source_split += 1
                pieces = self._split(clean_line(line))
                parts = self.tokens(pieces)
            ids += [self._cut(part) for part in parts]
            cut += [len(part) > self.options.max_source for part in parts]
            owners += [index] * len(parts)
            texts += pieces
        return Encoded(ids, owners, texts, cut)

    def cut(self, lines: Sequence[str]) -> list[list[int]]:
        """Returns the tokens of the lines, cut at the limit."""
        self._count(lines)
        return [self._cut(tokens) for tokens in self.tokens(lines)]

    def _count(self, lines: Sequence[str]) -> None:
        """Counts lines, and those that need repairs or a larger font."""
        self.report.lines += len(lines)
        self.report.mended += sum(map(has_control, lines))
        if self._renderer is not None:
            self.report.redrawn += len(lines) if self._redrawn else 0
            self.report.undrawn += sum(bool(self._renderer.missing(clean_line(line))) for line in lines)

    def tokens(self, lines: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of sources, after the tag of the target language where the model has several.

        A line longer than the limit gives at least one token more than the limit, though not always all its tokens.
        """
        found = self.tokenizer.encode([self._enough(self._as_source(line)) for line in lines])
        return [[] if tokens in self._bare else tokens for tokens in found]

    def is_cut(self, line: str) -> bool:
        """Whether a line is longer than the limit, so that only its beginning is read."""
        return len(self.tokens([line])[0]) > self.options.max_source

    def pieces(self, line: str) -> tuple[list[str], int]:
        """Returns the pieces of a line, and the number of tag tokens that were added before them."""
        text = self._as_source(line)
        added = text.startswith(self._tag) and not clean_line(line).startswith(self._tags)
        tag = len(self.tokenizer.encode([self._tag])[0]) if added else 0
        return self.tokenizer.encode_pieces([self._enough(text)])[0][tag : self.options.max_source], tag

    def words(self, texts: Sequence[str]) -> list[int]:
        """Returns the number of words of each text, as links count them."""
        return [len(set(word_numbers(self.pieces(text)[0]))) for text in texts]

    def _enough(self, text: str) -> str:
        """Returns a beginning of a giant line, up to a space, with more tokens than the limit; other lines unchanged."""
        width = _CHARACTERS * self.options.max_source
        while width < len(text) and (end := text.find(" ", width)) >= 0:
            if len(self.tokenizer.encode([text[:end]])[0]) > self.options.max_source:
                return text[:end]
            width = 4 * end
        return text

    def _as_source(self, line: str) -> str:
        """Cleans a source and adds the tag of the target language unless it has one."""
        text = clean_line(line)
        tag = self._own_tag(text)
        text = as_trained(text[len(tag) :], self.recipe.data.source, self.recipe.data)
        return f"{self._tag} {text}" if self._tag and text and not tag else tag + text

    def _own_tag(self, text: str) -> str:
        return next((tag for tag in self._tags if text.startswith(tag)), "") if self._tag else ""

    def _language_tag(self) -> str:
        """Returns the tag that sources without one get; empty for a model of one target language."""
        data, wanted = self.recipe.data, self.options.target_language
        languages = data.target_languages
        if wanted is not None and wanted not in languages:
            raise ConfigError(f"this model translates into {', '.join(languages)}, not into {wanted}")
        return language_tag(wanted or data.target) if data.tag_target else ""

    def _split(self, text: str) -> list[str]:
        """Splits a line into parts that fit the limit, each after the line's own tag if it has one."""
        tag = self._own_tag(text)
        before = f"{tag} " if tag else ""
        parts = split_long(text[len(tag) :].strip(), lambda part: not self.is_cut(before + part))
        return [before + part for part in parts]

    def _cut(self, tokens: list[int]) -> list[int]:
        self.report.source_cut += len(tokens) > self.options.max_source
        return tokens[: self.options.max_source]


class TargetText:
    """Converts given target lines to tokens: for scoring, for prefixes and for attention."""

    def __init__(self, tokenizer: Tokenizer, recipe: Recipe, options: Options, report: Report) -> None:
        self.tokenizer, self.recipe, self.report = tokenizer, recipe, report
        self.language = options.target_language or recipe.data.target

    def cleaned(self, line: str) -> str:
        """Cleans a line: no control characters, and lower case if the model was trained so."""
        return as_trained(clean_line(line), self.language, self.recipe.data)

    def tokens(self, lines: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of the lines."""
        return self.tokenizer.encode([self.cleaned(line) for line in lines])

    def pieces(self, lines: Sequence[str]) -> list[list[str]]:
        """Returns the pieces of the lines."""
        return self.tokenizer.encode_pieces([self.cleaned(line) for line in lines])

    def starts(self, prefixes: Sequence[str]) -> list[Start]:
        """Returns the forced beginnings of translations; those with unknown characters keep their pieces as written."""
        pairs = zip(self.tokens(prefixes), self.pieces(prefixes), strict=True)
        starts = [Start(tokens, pieces if UNK in tokens else []) for tokens, pieces in pairs]
        self.report.unknown_prefixes += sum(bool(start.pieces) for start in starts)
        return starts
