"""BPE-dropout (Provilkov et al. 2020): random merges are left out, so that each epoch splits words differently.

SentencePiece offers it too, but its draws differ from process to process, whatever the seed. Here they depend only on the
seed, the epoch, the side and the number of the pair.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np

from nmt.corpus.encoded import Ints, Ragged, blocks
from nmt.corpus.tokenizer import UNK, WORD_MARK, Tokenizer

_REMEMBERED = 2**18  # words whose splits are cached, some 100 MB at most


class BpeDropout:
    """One side of a corpus, split into new tokens for each epoch."""

    def __init__(self, tokenizer: Tokenizer, plain: Ragged, probability: float, seed: str) -> None:
        """Finds the words of the corpus.

        Args:
            tokenizer: a BPE model.
            plain: the tokens of each line without dropout.
            probability: probability that a merge is left out.
            seed: seeds the draws, together with epoch and line.
        """
        self._log_kept, self._seed = math.log1p(-probability), seed
        pieces, whole = tokenizer.pieces(), tokenizer.unmerged()
        self._ids = {piece: token for token, piece in enumerate(pieces) if token not in whole}
        self._ranks = {piece: -tokenizer.score(token) for piece, token in self._ids.items()}
        begins = _word_begins(plain, pieces, whole)
        self._lines = np.searchsorted(begins, plain.offsets)
        numbers: dict[tuple[int, ...], int] = {}
        found = (numbers.setdefault(word, len(numbers)) for word in _words(plain, begins))
        self._sequence = np.fromiter(found, dtype=np.int32)
        self._words = list(numbers)
        self._texts = ["" if word[0] in whole else "".join(pieces[token] for token in word) for word in self._words]
        self._cut = lru_cache(_REMEMBERED)(self._cut_anew)

    def epoch(self, number: int) -> Ragged:
        """Returns the tokens of each line in an epoch."""
        return Ragged.of(self._line(number, row) for row in range(len(self._lines) - 1))

    def _line(self, epoch: int, row: int) -> list[int]:
        draws = random.Random(f"{self._seed} {epoch} {row}")
        tokens: list[int] = []
        gap = self._gap(draws)  # merges before the next one that is left out
        for number in self._sequence[self._lines[row] : self._lines[row + 1]].tolist():
            word, text = self._words[number], self._texts[number]
            merges = 3 * max(len(text) - 1, 0)  # upper bound: each merge proposes two more
            left_out: list[int] = []
            while gap < merges:
                left_out.append(gap)
                gap += 1 + self._gap(draws)
            gap -= merges
            unhurt = not left_out or left_out[0] >= len(text) - len(word)
            tokens += word if unhurt else self._cut(text, tuple(left_out))
        return tokens

    def _gap(self, draws: random.Random) -> int:
        return int(min(math.log(1 - draws.random()) / self._log_kept, 1e15))

    def _cut_anew(self, text: str, left_out: tuple[int, ...]) -> tuple[int, ...]:
        """Merges a word in the order of the vocabulary, except the merges of these numbers, and returns its tokens."""
        parts, after, before = list(text), list(range(1, len(text) + 1)), list(range(-1, len(text) - 1))
        agenda: list[tuple[float, int, int, str]] = []

        def propose(left: int, right: int) -> None:
            if left >= 0 and right < len(parts) and (merged := parts[left] + parts[right]) in self._ranks:
                heapq.heappush(agenda, (self._ranks[merged], left, right, merged))

        for left in range(len(parts) - 1):
            propose(left, left + 1)
        skipped, number = set(left_out), -1
        while agenda:
            _, left, right, merged = heapq.heappop(agenda)
            if not parts[left] or not parts[right] or len(parts[left]) + len(parts[right]) != len(merged):
                continue
            number += 1
            if number in skipped:
                continue
            parts[left], parts[right] = merged, ""
            after[left] = after[right]
            if after[right] < len(parts):
                before[after[right]] = left
            propose(before[left], left)
            propose(left, after[left])
        return tuple(self._ids.get(part, UNK) for part in parts if part)


def _word_begins(plain: Ragged, pieces: list[str], whole: set[int]) -> Ints:
    """Returns the indices of tokens that begin a word; no merge crosses them."""
    marked = np.array([piece.startswith(WORD_MARK) for piece in pieces])
    alone = np.isin(np.arange(len(pieces)), list(whole))
    begins, after = np.zeros(len(plain.values), bool), False
    for part in blocks(len(begins)):
        tokens = plain.values[part]
        begins[part] = (marked | alone)[tokens] | np.append(after, alone[tokens[:-1]])
        after = alone[tokens[-1]]
    for part in blocks(len(plain)):
        offsets = plain.offsets[part.start : part.stop + 1]
        begins[offsets[:-1][np.diff(offsets) > 0]] = True
    return np.flatnonzero(begins)


def _words(plain: Ragged, begins: Ints) -> Iterator[tuple[int, ...]]:
    """Yields the tokens of each word."""
    for part in blocks(len(begins)):
        edges = np.append(begins[part], begins[part.stop] if part.stop < len(begins) else len(plain.values))
        tokens = plain.values[edges[0] : edges[-1]].tolist()
        yield from (tuple(tokens[start:end]) for start, end in pairwise((edges - edges[0]).tolist()))
