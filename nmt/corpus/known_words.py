"""Encodes many lines by remembering the tokens of each word, as most words of a corpus are repetitions."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain

import numpy as np

from nmt.config.data import TokenKind
from nmt.corpus.encoded import Ragged
from nmt.corpus.tokenizer import UNK, WORD_MARK, Tokenizer
from nmt.corpus.words import MOST_WORDS

_BESIDE = "a"  # an ordinary word
_WIDTH = array("I").itemsize


class LineEncoder:
    """Encodes lines to the same tokens as `Tokenizer.encode`."""

    def __init__(self, tokenizer: Tokenizer, kind: TokenKind) -> None:
        """Remembers words unless the kind is `unigram`, whose sums over a whole line round otherwise than over a word."""
        self._tokenizer = tokenizer
        apart = all(WORD_MARK not in piece[1:] for piece in tokenizer.pieces())  # no token reaches into the next word
        self._remembers = apart and kind != "unigram"
        self._known: dict[
            str, bytes | None
        ] = {}  # the bytes of a word's tokens; None: they depend on the words beside it

    def __call__(self, lines: Sequence[str]) -> Ragged:
        """Returns the tokens of each line, without special tokens."""
        if not self._remembers:
            return Ragged.of(self._tokenizer.encode(lines))
        words = [line.split(" ") for line in lines]
        self._learn(set(chain.from_iterable(words)))
        parts = list(map(self._tokens, words))
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)) // _WIDTH, out=offsets[1:])
        return Ragged(np.frombuffer(b"".join(parts), np.uint32), offsets)

    def _tokens(self, words: list[str]) -> bytes:
        try:
            return b"".join(map(self._known.__getitem__, words))  # type: ignore[arg-type] # None is caught
        except TypeError:
            return array("I", self._tokenizer.encode([" ".join(words)])[0]).tobytes()

    def _learn(self, words: set[str]) -> None:
        """Encodes words that are not known, each by itself, before another word and after it."""
        if len(self._known) > MOST_WORDS:
            self._known.clear()
        new = sorted(words - self._known.keys())
        (beside,) = self._tokenizer.encode([_BESIDE])
        alone = self._tokenizer.encode(new)
        before = self._tokenizer.encode([f"{word} {_BESIDE}" for word in new])
        after = self._tokenizer.encode([f"{_BESIDE} {word}" for word in new])
        for word, ids, first, second in zip(new, alone, before, after, strict=True):
            independent = UNK not in ids and first == ids + beside and second == beside + ids
            self._known[word] = array("I", ids).tobytes() if independent else None
