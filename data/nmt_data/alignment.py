"""Scores pairs by IBM model 1: how much the words of a side say of those of the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nmt.corpus.languages import code_of
from nmt.corpus.model_one import Floats, Ids, Meetings, TranslationTable
from nmt.corpus.words import Normaliser, split_words
from nmt.runtime.stages import counted
from nmt_data.audit import Suspect
from nmt_data.shards import Mask, unpacked

SAMPLE = 50_000
"""Most pairs that a lexicon is learned from."""
_LONGEST = 40  # longest side in words of these pairs
_MEETINGS = 8_000_000  # most pairs of words in them, which bounds the memory to half a gigabyte
_LEAST = 10  # how often a word must occur in them to be known: rarer ones explain whatever they stood beside
_ROUNDS = 3  # iterations of expectation maximisation
_SMOOTHING = 0.03  # share of a word's own frequency in its probability: bounds what one word can cost
_NULL = 0  # the empty word, of which every sentence has one


@dataclass(frozen=True)
class Side:
    """Ids of the known words of many lines, and their numbers by line (N,)."""

    ids: Ids
    lengths: Ids

    def with_null(self) -> Side:
        """Puts the empty word before each line."""
        starts = np.cumsum(self.lengths) - self.lengths
        return Side(np.insert(self.ids, starts, _NULL), self.lengths + 1)


@dataclass(frozen=True)
class Words:
    """The known words of a language."""

    language: str
    ids: Mapping[str, int]

    @classmethod
    def of(cls, lines: Sequence[Sequence[str]], language: str) -> Words:
        """Collects the words that are frequent enough."""
        counts = Counter(word for line in lines for word in line)
        known = sorted(word for word, count in counts.items() if count >= _LEAST)
        return cls(language, {word: number for number, word in enumerate(known, _NULL + 1)})

    def side(self, lines: Iterable[Sequence[str]]) -> Side:
        """Returns the known words of lines that are split into words."""
        found = [[number for word in line if (number := self.ids.get(word))] for line in lines]
        lengths = np.array([len(line) for line in found], np.int64)
        return Side(np.fromiter((number for line in found for number in line), np.int64, lengths.sum()), lengths)


@dataclass(frozen=True)
class Direction:
    """What the words of one side say of those of the other."""

    table: TranslationTable
    frequency: Floats
    """Share of each word among all words of the side that is explained."""

    @classmethod
    def learned(cls, given: Side, words: Side, sizes: tuple[int, int], name: str) -> Direction:
        """Learns from pairs; `name` is that of the direction."""
        given = given.with_null()
        meetings = Meetings.of(given.ids, given.lengths, words.ids, words.lengths)
        rounds = counted(range(_ROUNDS), f"aligning the words of {name}", _ROUNDS, "rounds")
        frequency = np.bincount(words.ids, minlength=sizes[1]) / max(1, len(words.ids))
        return cls(TranslationTable.learned(meetings, sizes, rounds), frequency)

    def gains(self, given: Side, words: Side) -> Floats:
        """Returns for each line (N,) the mean over its words of log p(word | given) - log p(word), in nats; nan: no words."""
        given = given.with_null()
        meetings = Meetings.of(given.ids, given.lengths, words.ids, words.lengths)
        met = self.table.of(meetings.source, meetings.target)
        sums = np.bincount(meetings.position, met, len(words.ids))
        explained = sums / np.repeat(given.lengths, words.lengths)
        own = self.frequency[words.ids]
        gain = np.log((1 - _SMOOTHING) * explained / own + _SMOOTHING)
        totals = np.bincount(np.repeat(np.arange(len(words.lengths)), words.lengths), gain, len(words.lengths))
        return np.where(words.lengths > 0, totals / np.maximum(words.lengths, 1), np.nan)


@dataclass(frozen=True)
class Lexicon:
    """IBM model 1 (Brown et al. 1993) of two languages, in both directions."""

    words: tuple[Words, Words]
    forward: Direction
    backward: Direction

    @classmethod
    def learned(cls, pairs: Iterable[tuple[str, str]], languages: tuple[str, str]) -> Lexicon:
        """Learns from pairs of lines."""
        split = _splitters(languages)
        lines = [(split[0](source), split[1](target)) for source, target in pairs]
        lines = [pair for pair in lines if max(map(len, pair)) <= _LONGEST]
        step = -(-sum(len(one) * len(other) for one, other in lines) // _MEETINGS) or 1
        lines = lines[::step]
        sides = [pair[0] for pair in lines], [pair[1] for pair in lines]
        words = Words.of(sides[0], languages[0]), Words.of(sides[1], languages[1])
        source, target = words[0].side(sides[0]), words[1].side(sides[1])
        sizes = len(words[0].ids) + 1, len(words[1].ids) + 1
        names = f"{languages[0]}-{languages[1]}", f"{languages[1]}-{languages[0]}"
        return cls(
            words,
            Direction.learned(source, target, sizes, names[0]),
            Direction.learned(target, source, (sizes[1], sizes[0]), names[1]),
        )

    def scores(self, source: Sequence[str], target: Sequence[str]) -> Floats:
        """Returns the gain of each pair (N,), in the direction where it is smaller; nan: a side has no known word."""
        split = _splitters((self.words[0].language, self.words[1].language))
        sides = self.words[0].side(map(split[0], source)), self.words[1].side(map(split[1], target))
        return np.minimum(self.forward.gains(*sides), self.backward.gains(*sides[::-1]))


class Aligner:
    """Finds pairs of a shard whose words explain each other too little."""

    def __init__(self, lexicon: Lexicon, least: float) -> None:
        """Takes the smallest gain that is kept, in nats a word."""
        self._lexicon, self._least = lexicon, least

    def __call__(self, suspect: Suspect) -> Mask:
        """Returns which rows of the shard are to be dropped; those without known words are not judged."""
        weak = np.zeros(len(suspect.kept), bool)
        scores = self._lexicon.scores(*unpacked(suspect.shard, suspect.kept))
        weak[np.flatnonzero(suspect.kept)[scores < self._least]] = True
        return weak


class _Splitter:
    def __init__(self, language: str) -> None:
        self._normaliser = Normaliser(code_of(language))

    def __call__(self, line: str) -> list[str]:
        return split_words(self._normaliser(line))


def _splitters(languages: tuple[str, str]) -> tuple[_Splitter, _Splitter]:
    """Returns what splits lines of both sides into words, without case and punctuation."""
    return _Splitter(languages[0]), _Splitter(languages[1])
