"""Phrases are found in a text at the edges of words, whatever pieces spell it."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import booleans, integers, lists, sampled_from, text

from nmt.config.data import TokenizerConfig
from nmt.corpus.tokenizer import EOS, Tokenizer
from nmt.decoding.lookahead import Lookahead
from nmt.decoding.phrases import START, Phrases, is_edge, kind_of

CHARACTERS = "ab é\u0301猫ก_1-.\u00a0\u200d"
LINES = [f"der Hund {i} und die Katze été 猫 ab ba" for i in range(90)]
TOKENIZER = Tokenizer.train(LINES, TokenizerConfig(kind="bpe", vocabulary=320, byte_fallback=True))


def _stands_in(phrase: str, line: str, starts: bool) -> bool:
    """Whether a phrase is in a line with an edge of a word on both sides, or on its left alone."""
    phrase, line = " ".join(phrase.split()), f" {' '.join(line.split())} "
    places = [place for place in range(1, len(line)) if line.startswith(phrase, place)]
    return any(
        is_edge(kind_of(line[place - 1]), kind_of(line[place]))
        and (starts or is_edge(kind_of(line[place + len(phrase) - 1]), kind_of(line[place + len(phrase)])))
        for place in places
    )


@settings(max_examples=300)
@given(
    phrases=lists(text(CHARACTERS, min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=3),
    line=text(CHARACTERS, max_size=12),
    cuts=lists(integers(0, 12), max_size=4),
    starts=booleans(),
)
def test_phrases_are_found_however_a_line_is_cut(phrases: list[str], line: str, cuts: list[int], starts: bool) -> None:
    """Phrase matching gives the reference result for any segmentation of the line, bytes included."""
    ends = sorted({0, len(line), *(min(cut, len(line)) for cut in cuts)})
    pieces = [line[start:end] for start, end in itertools.pairwise(ends)]
    expected = {index for index, phrase in enumerate(phrases) if _stands_in(phrase, line, starts)}
    assert Phrases(phrases, starts).found(pieces) == expected
    in_bytes = [byte for character in line for byte in character.encode()]
    assert Phrases(phrases, starts).found(in_bytes) == expected


@pytest.mark.parametrize(
    ("phrase", "line", "found"),
    [
        ("child", "The child sleeps.", True),
        ("child", "A children's child-like Child", True),
        ("child", "The children sleep.", False),
        ("eight", "Eighty eightfold", False),
        ("cafe", "cafe\u0301", False),
        ("狗", "我的狗很好", True),
        ("New York", "in New\u00a0 York.", True),
        ("New York", "New Yorker", False),
        ("50 %", "150 % 50 %!", True),
        ("%", "5%", True),
        ("बच्चा", "बच्चाों", False),
    ],
)
def test_a_word_ends_where_its_script_says(phrase: str, line: str, found: bool) -> None:
    """A phrase matches whole words only, where word boundaries depend on the script."""
    assert bool(Phrases([phrase]).found([line])) == found


@settings(max_examples=200, deadline=None)
@given(
    ids=lists(integers(4, TOKENIZER.vocabulary_size - 1), max_size=8),
    phrases=lists(sampled_from(["Hund", "a", "ab", "der Hund", "猫", "é", "u", "\ufffd"]), min_size=1, max_size=3),
)
def test_tokens_spell_what_they_decode_to(ids: list[int], phrases: list[str]) -> None:
    """Any tokens, bytes that make no character among them."""
    (decoded,) = TOKENIZER.decode([ids])
    searched = Phrases(phrases)
    assert searched.found(TOKENIZER.spelled[token] for token in ids) == searched.found([decoded])


@settings(max_examples=40, deadline=None)
@given(
    history=lists(integers(4, TOKENIZER.vocabulary_size - 1), max_size=5),
    phrases=lists(sampled_from(["Hund", "a", "ab", "der Hund", "猫", "u"]), min_size=1, max_size=3),
    forced=integers(0, 3),
)
def test_what_is_looked_ahead_is_what_comes(history: list[int], phrases: list[str], forced: int) -> None:
    """A token, or the end, is banned if and only if it makes a phrase whole; close to the limit also if the end would then."""
    searched = Phrases(phrases)
    lookahead = Lookahead(searched, TOKENIZER.spelled, torch.device("cpu"))
    states = lookahead.after(torch.tensor([history], dtype=torch.long), torch.tensor([forced]))
    plain, close = (lookahead.banned(states, torch.tensor([choice]))[0] for choice in (False, True))
    state = START
    for position, token in enumerate(history):
        state, _ = searched.read(state, TOKENIZER.spelled[token])
        state = searched.settled(state) if position + 1 == forced else state
    assert bool(plain[EOS]) == bool(searched.at_end(state))
    for token in range(4, TOKENIZER.vocabulary_size):
        after, said = searched.read(state, TOKENIZER.spelled[token])
        assert bool(plain[token]) == bool(said)
        assert bool(close[token]) == bool(said or searched.at_end(after))
