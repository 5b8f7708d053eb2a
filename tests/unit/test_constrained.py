"""Translations that must contain phrases contain them, with the scores of the model, and nothing is lost by not asking."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers, lists

from nmt.config import SearchConfig
from nmt.constrained import Progress, constrained_beam_search
from nmt.search import beam_search, score_targets
from nmt.tokenizer import BOS, EOS
from tiny import make_batch, make_model

SEARCH = SearchConfig(beam=6, max_length_ratio=2.0, max_length_constant=6)


def test_progress_follows_phrases() -> None:
    """A phrase that is broken off begins anew, also with the word that broke it off; what is whole stays."""
    start = Progress([[4, 5, 6], [7]])
    assert sorted(start.wanted()) == [4, 7]
    half = start.after(4).after(5)
    assert (half.met, half.wanted()) == (2, [6])
    assert half.after(4).met == 1
    assert half.after(9).met == 0
    done = half.after(6).after(7)
    assert done.whole
    assert (done.met, done.wanted(), done.after(9).whole) == (4, [], True)


@given(
    phrases=lists(lists(integers(4, 5), min_size=1, max_size=4), min_size=1, max_size=3),
    tokens=lists(integers(4, 6), max_size=12),
)
def test_progress_knows_what_a_text_contains(phrases: list[list[int]], tokens: list[int]) -> None:
    """Also of phrases that overlap, repeat themselves or lie inside of each other."""
    progress = Progress(phrases)
    for token in tokens:
        progress = progress.after(token)
        assert 0 <= progress.met <= sum(map(len, phrases))
    text = f" {' '.join(map(str, tokens))} "
    assert progress.said == {index for index, phrase in enumerate(phrases) if f" {' '.join(map(str, phrase))} " in text}


@pytest.mark.parametrize("name", ["additive", "transformer", "convolution", "bottleneck"])
def test_phrases_are_said(name: str) -> None:
    """Each sentence says its own, in whatever order; a score is that of forced decoding; more are said than asked for."""
    model = make_model(name)
    source, lengths = make_batch([6, 4, 5])
    phrases = [[[9, 10], [11]], [], [[12, 12]]]
    found = constrained_beam_search(model, source, lengths, SEARCH, phrases, best=2)
    for row, (items, wanted) in enumerate(zip(found, phrases, strict=True)):
        best = items[0]
        text = f" {' '.join(map(str, best.tokens))} "
        assert all(f" {' '.join(map(str, phrase))} " in text for phrase in wanted)
        spoken = torch.tensor([[BOS, *best.tokens, EOS]])
        one = slice(row, row + 1)
        with torch.no_grad():
            forced = score_targets(model, source[one], lengths[one], spoken[:, :-1], spoken[:, 1:])
        assert float(forced.sum()) == pytest.approx(best.log_probability)


@pytest.mark.parametrize("name", ["additive", "transformer"])
def test_without_phrases_it_is_a_beam_search(name: str) -> None:
    """No worse than the plain one, and hardly ever another."""
    model = make_model(name)
    source, lengths = make_batch([6, 4, 5])
    plain = beam_search(model, source, lengths, SEARCH)
    free = constrained_beam_search(model, source, lengths, SEARCH, [[], [], []])
    assert all(one[0].score >= other[0].score - 1e-9 for one, other in zip(free, plain, strict=True))


def test_a_batch_is_its_sentences() -> None:
    model = make_model("transformer")
    source, lengths = make_batch([6, 4, 5])
    phrases = [[[9, 10]], [[11]], [[12], [13]]]
    together = constrained_beam_search(model, source, lengths, SEARCH, phrases)
    for row, length in enumerate(lengths.tolist()):
        one = source[row : row + 1, :length], lengths[row : row + 1]
        (alone,) = constrained_beam_search(model, *one, SEARCH, [phrases[row]])
        assert alone[0].tokens == together[row][0].tokens


def test_what_cannot_be_said_in_time_is_cut() -> None:
    """More phrases than the length limit has room for: the translation ends there, and says so."""
    model = make_model("additive")
    source, lengths = make_batch([3])
    short = SearchConfig(beam=4, max_length_ratio=0.0, max_length_constant=2)
    ((best,),) = constrained_beam_search(model, source, lengths, short, [[[9, 10, 11, 12]]])
    assert best.cut
    assert len(best.tokens) == 2
