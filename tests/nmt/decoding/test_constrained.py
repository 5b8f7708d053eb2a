"""Translations that must contain phrases contain them, with the scores of the model, and nothing is lost by not asking."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers, lists

from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import BOS, EOS
from nmt.decoding.beam_search import beam_search, score_targets
from nmt.decoding.constrained import PhraseProgress, Required, constrained_beam_search
from nmt.decoding.phrases import Phrases
from tiny import SPELLED, make_batch, make_model

TOKENS = {item: token for token, item in enumerate(SPELLED) if isinstance(item, str) and token > EOS}
SEARCH = SearchConfig(beam=6, max_length_ratio=2.0, max_length_constant=6)


def _required(*encoded: list[int]) -> Required:
    """Phrases that these tokens spell."""
    texts = ["".join(str(SPELLED[token]) for token in tokens).strip() for tokens in encoded]
    return Required(Phrases(texts), encoded, SPELLED, TOKENS)


def _says(tokens: list[int], phrase: list[int]) -> bool:
    """Whether the text of tokens has that of others, at the edges of words."""
    line, words = ("".join(str(SPELLED[token]) for token in part) for part in (tokens, phrase))
    return re.search(rf"(?<!\w){re.escape(' '.join(words.split()))}(?!\w)", " ".join(line.split())) is not None


def test_progress_follows_phrases() -> None:
    """A phrase that is broken off begins anew, also with the word that broke it off; what is whole stays."""
    start = PhraseProgress(_required([12, 13, 14], [15]))
    assert start.wanted() == {12, 15}
    half = start.after(12).after(13)
    assert (half.met, half.wanted()) == (2, {14})
    assert half.after(12).met == 1
    assert half.after(17).met == 0
    done = half.after(14).after(15)
    assert (done.met, done.wanted(), done.may_end, done.whole) == (4, set(), True, False)
    assert done.after(17).whole
    assert done.after(EOS).whole


def test_a_phrase_may_be_spelled_in_other_pieces() -> None:
    """What was begun in other pieces goes on in them; a longer word is not the phrase."""
    start = PhraseProgress(_required([6]))  # "ab"
    assert start.wanted() == {6}
    other = start.after(4)  # " a"
    assert 8 in other.wanted()  # "b"
    assert other.after(8).after(11).whole
    assert not start.after(6).after(7).whole  # "aba"
    assert not start.after(6).after(7).may_end
    assert start.after(6).after(11).whole  # "ab."


@given(
    phrases=lists(lists(integers(4, 5), min_size=1, max_size=4), min_size=1, max_size=3),
    tokens=lists(integers(4, 11), max_size=12),
)
def test_progress_knows_what_a_text_contains(phrases: list[list[int]], tokens: list[int]) -> None:
    """Also of phrases that overlap, repeat themselves or lie inside of each other."""
    progress = PhraseProgress(_required(*phrases))
    for token in tokens:
        progress = progress.after(token)
        assert 0 <= progress.met <= sum(map(len, phrases))
        assert not progress.wanted() - set(range(4, 23))
    expected = {index for index, phrase in enumerate(phrases) if _says(tokens, phrase)}
    assert progress.after(EOS).said == expected
    assert progress.may_end == (len(expected) == len(phrases))


@pytest.mark.parametrize("name", ["additive", "transformer", "convolution", "bottleneck"])
def test_phrases_are_said(name: str) -> None:
    """Each sentence says its own, in whatever order; a score is that of forced decoding; more are said than asked for."""
    model = make_model(name)
    source, lengths = make_batch([6, 4, 5])
    phrases = [[[13, 6], [12]], [], [[12, 12]]]
    required = [_required(*some) for some in phrases]
    found = constrained_beam_search(model, source, lengths, SEARCH, required, best=2)
    for row, (items, wanted) in enumerate(zip(found, phrases, strict=True)):
        best = items[0]
        assert all(_says(best.tokens, phrase) for phrase in wanted)
        assert required[row].met_by(best.tokens)
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
    free = constrained_beam_search(model, source, lengths, SEARCH, [_required()] * 3)
    assert all(one[0].score >= other[0].score - 1e-9 for one, other in zip(free, plain, strict=True))


def test_a_batch_is_its_sentences() -> None:
    """Constrained search gives the same best hypothesis for a sentence in a batch as by itself."""
    model = make_model("transformer")
    source, lengths = make_batch([6, 4, 5])
    phrases = [_required([6, 13]), _required([11]), _required([12], [13])]
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
    ((best,),) = constrained_beam_search(model, source, lengths, short, [_required([9, 13, 11, 12])])
    assert best.cut
    assert len(best.tokens) == 2
