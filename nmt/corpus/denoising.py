"""Noises whose removal teaches a model a language: those of BART (Lewis et al. 2020), and that of MASS (Song et al. 2019).

Each line is noised anew in each epoch. Every draw depends only on a seed, the epoch and the number of the line. All lines are
noised together, as arrays of words in the order of their lines; many lines in blocks.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, count
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt

from nmt.config.recipe import DenoisingConfig, Recipe
from nmt.corpus.encoded import EncodedCorpus, Ints, Ragged, blocks
from nmt.corpus.line_draws import Floats, uniforms
from nmt.corpus.prepared import Prepared
from nmt.corpus.tokenizer import EOS, MASK, WORD_MARK, Tokenizer, language_tag
from nmt.corpus.words import split_words

_Flags = npt.NDArray[np.bool_]

_CLOSERS = "\"'”’»)\\]"
_ENDS_SENTENCE = re.compile(f"[.!?…。！？][{_CLOSERS}]*$")
_CLOSES = re.compile(f"[{_CLOSERS}]+$")

# L lines, W words of all lines


class Denoising:
    """Lines without translations as pairs: the source is noised, and the target is the line or a half that the source hides."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        objective: Literal["denoise", "mass"],
        config: DenoisingConfig,
        seed: int,
        first: int = 0,
        tag: int = 0,
    ) -> None:
        """Takes the tokenizer of the lines, and what the recipe says.

        Args:
            tokenizer: of both sides.
            objective: see `nmt.config.recipe.TrainingConfig`.
            config: the noises of `denoise`.
            seed: of the draws, together with the epoch and the line.
            first: row of the corpus where the lines begin.
            tag: number of tokens of the tag at the beginning of their source.
        """
        self._objective: Literal["denoise", "mass"] = objective
        self._config, self._seed, self._first, self._tag = config, seed, first, tag
        pieces = tokenizer.pieces()
        self._mask, self._vocabulary = pieces.index(MASK), len(pieces)
        self._begins = np.array([_begins_word(piece) for piece in pieces])
        self._ends = np.array([_ENDS_SENTENCE.search(piece) is not None for piece in pieces])
        self._closes = np.array([_CLOSES.match(piece) is not None for piece in pieces])

    @classmethod
    def of(cls, recipe: Recipe, prepared: Prepared) -> Denoising | None:
        """Makes the denoising of a recipe; None: its objective is to translate."""
        objective, tokenizer = recipe.training.objective, prepared.tokenizers.source
        if objective == "translate":
            return None
        tag = sum(map(len, tokenizer.encode([language_tag(language) for language in recipe.data.tags[:1]])))
        return cls(tokenizer, objective, recipe.training.denoising, recipe.seed, sum(prepared.parts), tag)

    def epoch(self, corpus: EncodedCorpus, number: int) -> EncodedCorpus:
        """Returns the corpus of an epoch: the pairs as they are, then the lines as they are drawn."""
        lines = corpus.rows(self._first, len(corpus))
        drawn = (self._part(lines, part, number) for part in blocks(len(lines)))
        parts = chain([corpus.rows(0, self._first)], drawn)
        match self._objective:
            case "denoise":  # the targets are the lines themselves
                return EncodedCorpus(Ragged.joined(part.source for part in parts), corpus.target)
            case "mass":
                return EncodedCorpus.joined(parts)
            case _:
                assert_never(self._objective)

    def _part(self, lines: EncodedCorpus, part: slice, number: int) -> EncodedCorpus:
        """Returns some of the lines as pairs of an epoch."""
        own = lines.rows(part.start, part.stop)
        drawn = self.drawn(own.target, number, part.start)
        return EncodedCorpus(self._tagged(drawn.source, own.source), drawn.target)

    def drawn(self, lines: Ragged, number: int, first: int = 0) -> EncodedCorpus:
        """Returns each line as a pair of an epoch, without the tag of its language; `first` is the number of the first one."""
        draws = f"{self._seed} {self._objective} {number}"
        match self._objective:
            case "denoise":
                return EncodedCorpus(self._noised(lines, draws, first), lines)
            case "mass":
                return half_hidden(lines, self._mask, self._vocabulary, draws, first)
            case _:
                assert_never(self._objective)

    def _tagged(self, source: Ragged, before: Ragged) -> Ragged:
        """Puts the tag that each sequence of `before` begins with at the beginning of each source."""
        places = before.offsets[:-1, None] + np.arange(self._tag)
        values = np.insert(source.values, np.repeat(source.offsets[:-1], self._tag), before.values[places.flatten()])
        return Ragged(values, source.offsets + self._tag * np.arange(len(source.offsets)))

    def _noised(self, lines: Ragged, draws: str, first: int) -> Ragged:
        config, words = self._config, Words.of(lines, self._begins, self._mask, first)
        if config.permute:
            words = permuted(words, self._sentence_ends(words), f"{draws} permute")
        if config.rotate:
            words = rotated(words, f"{draws} rotate")
        if config.delete:
            words = deleted(words, config.delete, f"{draws} delete")
        if config.mask:
            words = masked(words, config.mask, f"{draws} mask")
        if config.infill:
            words = infilled(words, config.infill, config.span, f"{draws} infill")
        return words.text()

    def _sentence_ends(self, words: Words) -> _Flags:
        """Says which words end a sentence; a quotation mark or bracket may follow its sign as one more token."""
        last = words.start + words.length - 1
        closed = self._closes[words.tokens[last]] & (words.length > 1) & self._ends[words.tokens[last - 1]]
        return self._ends[words.tokens[last]] | closed


@dataclass(frozen=True)
class Words:
    """Words of lines, each a run of tokens; the lines are in order, and so are the words of each."""

    tokens: npt.NDArray[np.uint32]
    """Tokens of the lines as they were, and a mask at the end."""
    lines: int
    """Number of lines."""
    line: Ints
    """(W,) the line of each word."""
    start: Ints
    """(W,) the first token of each word."""
    length: Ints
    """(W,) number of tokens."""
    before: int = 0
    """Number of lines before these, which only draws count."""

    @classmethod
    def of(cls, text: Ragged, begins: _Flags, mask: int, before: int = 0) -> Words:
        """Finds the words; `begins` (V,) says which tokens begin one."""
        first = begins[text.values]
        first[text.offsets[:-1][text.lengths > 0]] = True
        start = np.flatnonzero(first)
        line = np.searchsorted(text.offsets, start, side="right") - 1
        length = np.diff(start, append=len(text.values))
        return cls(np.append(text.values, np.uint32(mask)), len(text), line, start, length, before)

    @property
    def counts(self) -> Ints:
        """(L,) number of words of each line."""
        return np.bincount(self.line, minlength=self.lines)

    @property
    def place(self) -> Ints:
        """(W,) position of each word in its line."""
        return np.arange(len(self.line)) - (np.cumsum(self.counts) - self.counts)[self.line]

    def uniforms(self, draws: str, lines: Ints, numbers: Ints | None = None) -> Floats:
        """Draws a number for each of some lines, or pairs of a line and a number; see `nmt.corpus.line_draws`."""
        return uniforms(draws, lines + self.before, numbers)

    def chosen(self, rows: Ints | _Flags) -> Words:
        """Returns these words, in this order."""
        return replace(self, line=self.line[rows], start=self.start[rows], length=self.length[rows])

    def hidden(self, which: _Flags) -> Words:
        """Replaces some words by masks."""
        start, length = np.where(which, len(self.tokens) - 1, self.start), np.where(which, 1, self.length)
        return replace(self, start=start, length=length)

    def text(self) -> Ragged:
        """Returns the tokens of each line; a line without words is one mask."""
        bare = np.flatnonzero(self.counts == 0)
        line = np.append(self.line, bare)
        start = np.append(self.start, np.full(len(bare), len(self.tokens) - 1))
        length = np.append(self.length, np.ones(len(bare), np.int64))
        order = np.argsort(line, kind="stable")
        start, length = start[order], length[order]
        ends = np.cumsum(length)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(start - (ends - length), length)
        sizes = np.bincount(line[order], weights=length, minlength=self.lines).astype(np.int64)
        return Ragged(self.tokens[places], np.append(0, np.cumsum(sizes)))


def permuted(words: Words, ends: _Flags, draws: str) -> Words:
    """Shuffles the sentences of each line; `ends` (W,) says which words end one."""
    first = words.place == 0
    sentence = np.cumsum(first | np.append(True, ends)[:-1])
    number = sentence - np.maximum.accumulate(np.where(first, sentence, 0))  # in its line
    return words.chosen(np.lexsort((words.uniforms(draws, words.line, number), words.line)))


def rotated(words: Words, draws: str) -> Words:
    """Begins each line with any of its words, all equally probable; those before it follow at the end."""
    counts = words.counts
    begin = (words.uniforms(draws, np.arange(words.lines)) * counts).astype(np.int64)
    place = (words.place - begin[words.line]) % counts[words.line]
    return words.chosen(np.lexsort((place, words.line)))


def deleted(words: Words, probability: float, draws: str) -> Words:
    """Deletes words with a probability."""
    return words.chosen(words.uniforms(draws, words.line, words.place) >= probability)


def masked(words: Words, probability: float, draws: str) -> Words:
    """Replaces words by masks with a probability."""
    return words.hidden(words.uniforms(draws, words.line, words.place) < probability)


def infilled(words: Words, share: float, mean: float, draws: str) -> Words:
    """Replaces spans of words by one mask each; a span of no words inserts one.

    The number of hidden words is `share` of a line's words, rounded up or down at random so that the mean is exact. Lengths
    are drawn from a Poisson distribution until they hide so many; the last one is cut. Spans stand anywhere, in any order.
    """
    counts, lines = words.counts, np.arange(words.lines)
    left = np.floor(share * counts + words.uniforms(f"{draws} share", lines)).astype(np.int64)
    kept = counts - left
    span_lines, spans = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number in count():
        lines = lines[left[lines] > 0]
        if not len(lines):
            break
        drawn = poisson(words.uniforms(f"{draws} length", lines, np.full(len(lines), number)), mean)
        drawn = np.minimum(drawn, left[lines])
        left[lines] -= drawn
        span_lines.append(lines)
        spans.append(drawn)
    return _with_spans(words, kept, np.concatenate(span_lines), np.concatenate(spans), f"{draws} place")


def _with_spans(words: Words, kept: Ints, span_lines: Ints, spans: Ints, draws: str) -> Words:
    """Lays spans (their line, and number of words) and single words, `kept` (L,) of each line, out in random order."""
    line = np.append(np.repeat(np.arange(words.lines), kept), span_lines)
    size = np.append(np.ones(kept.sum(), np.int64), spans)
    hidden = np.append(np.zeros(kept.sum(), bool), np.ones(len(spans), bool))
    order = np.argsort(line, kind="stable")
    line, size, hidden = line[order], size[order], hidden[order]
    place = replace(words, line=line).place
    order = np.lexsort((words.uniforms(draws, line, place), line))
    line, size, hidden = line[order], size[order], hidden[order]
    first = np.minimum(np.cumsum(size) - size, max(len(words.line) - 1, 0))
    return replace(words, line=line, start=words.start[first], length=words.length[first]).hidden(hidden)


def poisson(uniform: Floats, mean: float) -> Ints:
    """Turns numbers from 0 to 1 into draws from a Poisson distribution, by its cumulative probabilities."""
    return np.searchsorted(_cumulative(mean), uniform, side="right").astype(np.int64)


@lru_cache
def _cumulative(mean: float) -> Floats:
    most = math.ceil(mean + 12 * math.sqrt(mean) + 12)
    logarithms = np.arange(most) * math.log(mean) - mean - np.array([math.lgamma(n + 1) for n in range(most)])
    return np.cumsum(np.exp(logarithms))


def half_hidden(lines: Ragged, mask: int, vocabulary: int, draws: str, first: int = 0) -> EncodedCorpus:
    """Hides a half of the tokens of each line, one after the other, which are its target (Song et al. 2019, section 3.2).

    Of the hidden tokens 80 % are masks in the source, 10 % any token and 10 % as they were (section 4.1). The paper masks the
    rest of the line in the decoder, leaves these positions out and keeps the numbers of the others. Here the target begins at
    position 0, after BOS, and ends with EOS, as in translation.
    """
    counts, numbers = lines.lengths, np.arange(len(lines))
    half = (counts + 1) // 2
    begin = (uniforms(f"{draws} begin", numbers + first) * (counts - half + 1)).astype(np.int64)
    line = np.repeat(numbers, counts)
    place = np.arange(len(line)) - lines.offsets[:-1][line]
    hidden = (place >= begin[line]) & (place < (begin + half)[line])
    fate, token = (uniforms(f"{draws} {what}", line + first, place) for what in ("fate", "token"))
    any_token = (EOS + 1 + token * (vocabulary - EOS - 1)).astype(np.uint32)
    shown = np.where(fate < 0.8, np.uint32(mask), np.where(fate < 0.9, any_token, lines.values))
    source = Ragged(np.where(hidden, shown, lines.values), lines.offsets)
    return EncodedCorpus(source, Ragged(lines.values[hidden], np.append(0, np.cumsum(half))))


def _begins_word(piece: str) -> bool:
    """Whether a token begins a word: behind a space, or with a letter of a script without spaces."""
    return piece.startswith(WORD_MARK) or len(split_words(f"x{piece[:1]}")) > 1
