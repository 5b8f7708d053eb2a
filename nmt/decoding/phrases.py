"""Finds words and phrases, at word edges, in a text that is spelled piece by piece."""

from __future__ import annotations

import codecs
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

Spelled = str | int
"""The text of a token: characters, or one byte of a character."""

SPACE, OTHER, LETTER, MARK, UNSPACED = range(5)
"""Kinds of characters; UNSPACED is for scripts that write no space between words."""
_UNSPACED_SCRIPTS = (
    "CJK",
    "IDEOGRAPHIC",
    "HIRAGANA",
    "KATAKANA",
    "HALFWIDTH KATAKANA",
    "THAI",
    "LAO",
    "KHMER",
    "MYANMAR",
)
_JOINERS = "\u200c\u200d"
_EDGE = ""  # a symbol besides the characters: the edge of a word


@cache
def kind_of(character: str) -> int:
    """Returns the kind of a character, which decides where words begin and end."""
    category = unicodedata.category(character)
    if character.isspace() or category == "Cc":
        return SPACE
    if category[0] == "M" or character in _JOINERS:
        return MARK
    if category[0] in "LN" or category == "Pc":
        return UNSPACED if unicodedata.name(character, "").startswith(_UNSPACED_SCRIPTS) else LETTER
    return OTHER


def is_edge(before: int, after: int) -> bool:
    """Whether a word may begin or end between characters of these kinds."""
    if after == MARK:
        return before in (SPACE, OTHER)
    return after != LETTER or before not in (LETTER, MARK)


class State(NamedTuple):
    """The state of matching after a part of a text."""

    node: int
    """The node of the longest phrase beginning that the text ends with."""
    before: int
    """Kind of the last character."""
    pending: bytes
    """Bytes of an incomplete character."""


START = State(0, SPACE, b"")


class Phrases:
    """Finds phrases in a text that arrives piece by piece (Aho and Corasick 1975, over characters and word edges).

    White space of any kind and length counts as one space. A phrase must begin and end at word edges: "child" is not in
    "children".
    """

    def __init__(self, texts: Sequence[str], starts: bool = False) -> None:
        """Takes phrases as text; with `starts` a longer word that begins with a phrase also matches."""
        self.texts = [" ".join(text.split()) for text in texts]
        self.children: list[dict[str, int]] = [{}]
        self._fail, own = [0], [set[int]()]
        self.spans: list[dict[int, int]] = [{}]
        """For each node, the phrases that begin with it, and the length of that beginning in characters."""
        for index, text in enumerate(self.texts):
            node = length = 0
            for symbol in [*_symbols(text), *([] if starts else [_EDGE])]:
                if symbol not in self.children[node]:
                    self.children[node][symbol] = len(self.children)
                    self.children.append({})
                    self._fail.append(0)
                    own.append(set())
                    self.spans.append({})
                node, length = self.children[node][symbol], length + len(symbol)
                self.spans[node][index] = length
            own[node].add(index)
        self.ends = [frozenset[int]()] * len(own)
        """For each node, the phrases that are complete there."""
        waiting = deque([0])
        while waiting:
            node = waiting.popleft()
            self.ends[node] = frozenset(own[node]) | (self.ends[self._fail[node]] if node else frozenset[int]())
            for symbol, child in self.children[node].items():
                self._fail[child] = self._next(self._fail[node], symbol) if node else 0
                waiting.append(child)

    def _next(self, node: int, symbol: str) -> int:
        while node and symbol not in self.children[node]:
            node = self._fail[node]
        return self.children[node].get(symbol, 0)

    def begun(self, node: int) -> Iterator[tuple[int, int]]:
        """Yields the phrases whose beginning the node ends with, and its length in characters; longest beginning first."""
        while node:
            yield from self.spans[node].items()
            node = self._fail[node]

    def step(self, node: int, before: int, symbol: str, kind: int) -> tuple[int, frozenset[int]]:
        """Returns the node after one more character, and the phrases that it completes."""
        said = frozenset[int]()
        if kind == before == SPACE:
            return node, said
        if is_edge(before, kind):
            node = self._next(node, _EDGE)
            said = self.ends[node]
        node = self._next(node, " " if kind == SPACE else symbol)
        return node, said | self.ends[node]

    def read(self, state: State, spelled: Spelled) -> tuple[State, frozenset[int]]:
        """Returns the state after the text of one more token, and the phrases that it completes."""
        if spelled == "":
            return state, frozenset()
        node, before, pending = state
        if isinstance(spelled, int):
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            text = decoder.decode(pending + bytes([spelled]))
            pending = bytes(decoder.getstate()[0])
        else:
            text, pending = pending.decode("utf-8", "replace") + spelled, b""
        said = frozenset[int]()
        for character in text:
            kind = kind_of(character)
            node, new = self.step(node, before, character, kind)
            said, before = said | new, kind
        return State(node, before, pending), said

    def at_end(self, state: State) -> frozenset[int]:
        """Returns the phrases that are complete if the text ends here."""
        if state.pending:
            state, said = self.read(state._replace(pending=b""), state.pending.decode("utf-8", "replace"))
            return said | self.at_end(state)
        return self.ends[self._next(state.node, _EDGE)]

    def found(self, spelled: Iterable[Spelled], after: int = 0) -> frozenset[int]:
        """Returns the phrases in a text, without those that the first `after` tokens complete."""
        state, said = START, frozenset[int]()
        for position, item in enumerate(spelled):
            state, new = self.read(state, item)
            if position >= after:
                said |= new
            elif position == after - 1:
                state = self.settled(state)
        return said | self.at_end(state)

    def settled(self, state: State) -> State:
        """Forgets a phrase that would be complete if the text ended here, so that it is not found again."""
        return State(0, state.before, b"") if self.at_end(state) else state


def _symbols(text: str) -> Iterator[str]:
    """Yields the characters of a phrase, with the word edges before and between them."""
    before = SPACE
    for character in text:
        kind = kind_of(character)
        if is_edge(before, kind):
            yield _EDGE
        yield character
        before = kind
