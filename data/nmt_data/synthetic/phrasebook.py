"""The phrasebook: German-English pairs from a seeded grammar. Synthetic, but not a toy."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

from nmt_data.synthetic.grammar import Grammar

SIZES = {"train": 20_000, "valid": 500, "test": 1_000}
LONGEST_TRAINED = 20
"""Words in the longest German sentence of train, validation and the standard test."""
LENGTHS = ((1, 5), (6, 10), (11, 15), (16, 20), (21, 25), (26, 30), (31, 35), (36, 40))
PER_LENGTH = 125
"""Pairs of the long test in each range of lengths."""
_SEED = 20_26


def split(name: str) -> list[tuple[str, str]]:
    """Returns the pairs of train, valid, test or long. No German or English sentence is in two splits."""
    return _splits()[name]


def structures(count: int) -> list[str]:
    """Returns the structures, without words, of the first `count` sentences drawn."""
    grammar = Grammar(random.Random(_SEED))
    return [" ".join(grammar.structure) for _, _ in zip(range(count), _drawn(grammar), strict=False)]


@cache
def _splits() -> dict[str, list[tuple[str, str]]]:
    pairs = _unique(_drawn(Grammar(random.Random(_SEED))), set())
    splits: dict[str, list[tuple[str, str]]] = {}
    seen: set[str] = set()
    for name, size in SIZES.items():
        splits[name] = []
        while len(splits[name]) < size:
            pair = next(pairs)
            if not seen.intersection(pair):
                splits[name].append(pair)
        seen.update(side for pair in splits[name] for side in pair)
    splits["long"] = _by_length(seen)
    return splits


def _drawn(grammar: Grammar) -> Iterator[tuple[str, str]]:
    """Yields sentences of all training lengths, without end."""
    while True:
        clauses = grammar.random.choices([1, 2], [8, 2])[0]
        pair = grammar.sentence(clauses, detail=grammar.random.uniform(0, 0.9))
        if len(pair[0].split()) <= LONGEST_TRAINED:
            yield pair


def _by_length(seen: set[str]) -> list[tuple[str, str]]:
    grammar = Grammar(random.Random(_SEED + 1))
    found: dict[tuple[int, int], list[tuple[str, str]]] = {bounds: [] for bounds in LENGTHS}

    def drawn() -> Iterator[tuple[str, str]]:
        while True:
            yield grammar.sentence(grammar.random.randint(1, 6), detail=grammar.random.uniform(0, 1))

    for pair in _unique(drawn(), seen):
        length = len(pair[0].split())
        for bounds, chosen in found.items():
            if bounds[0] <= length <= bounds[1] and len(chosen) < PER_LENGTH:
                chosen.append(pair)
        if all(len(chosen) == PER_LENGTH for chosen in found.values()):
            return [pair for chosen in found.values() for pair in chosen]
    raise AssertionError("the grammar never ends")


def _unique(pairs: Iterator[tuple[str, str]], seen: set[str]) -> Iterator[tuple[str, str]]:
    """Yields the pairs with two unseen sides."""
    known = set(seen)
    for pair in pairs:
        if not known.intersection(pair):
            known.update(pair)
            yield pair
