"""Phrase matching in hypotheses: the effect of every vocabulary token on the state of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nmt.corpus.tokenizer import EOS
from nmt.decoding.phrases import START, Phrases, Spelled, State, kind_of

# R rows of a search, T positions so far, V vocabulary, S states that have come up

_KINDS = 5
_Integers = np.ndarray[Any, np.dtype[np.int32]]


class Lookahead:
    """Tables of the next state for each token, and of whether it completes a phrase; a row is computed at first use."""

    def __init__(self, phrases: Phrases, spelled: Sequence[Spelled], device: torch.device) -> None:
        """Takes the phrases, the text of each token of the vocabulary, and the device of the search."""
        self.phrases, self.spelled = phrases, spelled
        self._bytes = [(token, item) for token, item in enumerate(spelled) if isinstance(item, int)]
        alphabet = {symbol for children in phrases.children for symbol in children if symbol not in ("", " ")}
        symbols = [("", kind) for kind in range(_KINDS)] + [(symbol, kind_of(symbol)) for symbol in sorted(alphabet)]
        self._moves, self._whole = self._tables(symbols)
        self._columns = self._spelled_columns(
            {symbol: index for index, (symbol, _) in enumerate(symbols)}, len(symbols)
        )
        self._numbers: dict[State, int] = {}
        self._states: list[State] = []
        self._settled: list[int] = []
        self._places: list[int] = []  # row of each state in the table; -1: not computed yet
        self._table = torch.empty((8, len(spelled)), dtype=torch.long, device=device)
        self._filled = 0
        self._number(START)

    def _tables(self, symbols: Sequence[tuple[str, int]]) -> tuple[_Integers, np.ndarray[Any, np.dtype[np.bool_]]]:
        """Returns, for each node and preceding kind (rows) and each symbol, the next row and whether a phrase is complete.

        The last symbol means no character. A character that is in no phrase is represented by its kind alone.
        """
        count = len(self.phrases.children) * _KINDS
        moves, whole = np.zeros((count, len(symbols) + 1), np.int32), np.zeros((count, len(symbols) + 1), np.bool_)
        moves[:, -1] = np.arange(count)
        for row in range(count):
            node, before = divmod(row, _KINDS)
            for column, (symbol, kind) in enumerate(symbols):
                after, said = self.phrases.step(node, before, symbol or "\0", kind)
                moves[row, column], whole[row, column] = after * _KINDS + kind, bool(said)
        return moves, whole

    def _spelled_columns(self, known: dict[str, int], nothing: int) -> _Integers:
        """Returns the symbols of each token, one after the other: (L, V)."""
        texts = [item if isinstance(item, str) else "" for item in self.spelled]
        columns = np.full((max(map(len, texts), default=0), len(texts)), nothing, np.int32)
        for token, text in enumerate(texts):
            for place, character in enumerate(text):
                columns[place, token] = known.get(character, kind_of(character))
        return columns

    def _number(self, state: State) -> int:
        """Returns the number of a state, from 0 in the order of first use."""
        if state not in self._numbers:
            self._numbers[state] = len(self._states)
            self._states.append(state)
            self._places.append(-1)
            self._settled.append(-1)
            self._settled[self._numbers[state]] = self._number(self.phrases.settled(state))
        return self._numbers[state]

    def _row(self, state: State) -> _Integers:
        """Returns the number (V,) of the next state for each token; inverted (~) if the token completes a phrase."""
        text = state.pending.decode("utf-8", "replace")
        begun, said = self.phrases.read(state._replace(pending=b""), text)
        current = np.full(len(self.spelled), begun.node * _KINDS + begun.before, np.int32)
        whole = np.full(len(self.spelled), bool(said))
        for column in self._columns:
            whole |= self._whole[current, column]
            current = self._moves[current, column]
        reached, inverse = np.unique(current, return_inverse=True)
        row = np.array([self._number(State(*divmod(int(value), _KINDS), b"")) for value in reached])[inverse]
        for token, item in self._bytes:
            after, said = self.phrases.read(state, item)
            row[token], whole[token] = self._number(after), bool(said)
        row[EOS], whole[EOS] = 0, bool(self.phrases.at_end(state))
        return np.where(whole, ~row, row)

    def _add(self, number: int) -> None:
        """Computes the table row of a state."""
        row = torch.from_numpy(self._row(self._states[number]))
        if self._filled == len(self._table):
            self._table = torch.cat([self._table, torch.empty_like(self._table)])
        self._table[self._filled] = row.to(self._table.device)
        self._places[number] = self._filled
        self._filled += 1

    def _found(self, states: Tensor) -> Tensor:
        """Returns the table rows (R,) of states (R,), and computes the missing ones."""
        places = states.new_tensor(self._places)[states]
        if bool((places < 0).any()):
            for number in states[places < 0].unique().tolist():
                self._add(number)
            places = states.new_tensor(self._places)[states]
        return places

    def after(self, history: Tensor, forced: Tensor) -> Tensor:
        """Returns the state numbers (R,) after tokens (R, T); phrases in the first `forced` (R,) tokens are ignored."""
        states = history.new_zeros(len(history))
        for position in range(history.shape[1]):
            places = self._found(states)
            states = self._table[places, history[:, position]]
            states = torch.where(states < 0, ~states, states)
            settled = states.new_tensor(self._settled)[states]
            states = torch.where(forced == position + 1, settled, states)
        return states

    def whole(self, states: Tensor) -> Tensor:
        """Whether (R,) a phrase is complete if the text ends in these states (R,)."""
        return states.new_tensor(self._settled)[states] != states

    def banned(self, states: Tensor, close: Tensor) -> Tensor:
        """Returns the tokens (R, V) that complete a phrase; in rows that are `close` (R,) also if the text then has to end."""
        places = self._found(states)
        moved = self._table[places]  # (R, V)
        banned = moved < 0
        if bool(close.any()):
            banned |= self.whole(torch.where(banned, ~moved, moved)) & close[:, None]
        return banned
