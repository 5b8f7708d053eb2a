"""Diverse beam search: plain search when there is one group, otherwise what its groups choose differs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from torch import Tensor

from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import BOS, EOS
from nmt.decoding import candidates
from nmt.decoding.beam_search import beam_search
from nmt.decoding.diverse import diverse_beam_search
from tiny import make_batch, make_model

NAMES = ["bottleneck", "additive", "transformer"]


@pytest.mark.parametrize("name", NAMES)
def test_one_group_is_beam_search(name: str) -> None:
    """With a single group, diverse beam search returns the hypotheses and scores of beam search."""
    model = make_model(name)
    source, lengths = make_batch([6, 4, 2])
    config = SearchConfig(beam=4, max_length_constant=3, diversity=5.0)
    diverse, plain = (search(model, source, lengths, config, 4) for search in (diverse_beam_search, beam_search))
    for mine, theirs in zip(diverse, plain, strict=True):
        assert [item.tokens for item in mine] == [item.tokens for item in theirs]
        assert [item.score for item in mine] == pytest.approx([item.score for item in theirs])


@pytest.mark.parametrize("name", NAMES)
def test_groups_differ_and_scores_are_the_models_own(name: str) -> None:
    """Six groups of one are six greedy searches; a high price lets no two begin alike."""
    model = make_model(name)
    source, lengths = make_batch([6, 4])
    config = SearchConfig(beam=6, groups=6, diversity=1e6, max_length_constant=3)
    for row, found in enumerate(diverse_beam_search(model, source, lengths, config, 6)):
        firsts = [item.tokens[0] if item.tokens else EOS for item in found]
        assert len(set(firsts)) == len(firsts) == 6
        assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)
        for item in found:
            single, length = source[row : row + 1, : lengths[row]], lengths[row : row + 1]
            every = model.log_probabilities(single, length, torch.tensor([[BOS, *item.tokens]]))[0]
            total = every.gather(1, torch.tensor([*item.tokens, EOS])[:, None]).sum().item()
            assert item.log_probability == pytest.approx(total, abs=1e-9)


@dataclass(frozen=True)
class TwoWords:
    """A decoder that gives token 5 the probability 0.5, token 6 a log-probability that is lower by `gap`, and two tokens."""

    gap: float

    def encode(self, source: Tensor, lengths: Tensor) -> int:  # as any model
        """Nothing to read."""
        return len(source)

    def start(self, memory: int, beam: int) -> int:
        """Positions so far."""
        return 0 * memory * beam

    def step(self, state: int, tokens: Tensor) -> tuple[Tensor, int]:
        """Scores of the eight tokens, which are log-probabilities."""
        chances = torch.full((len(tokens), 8), 1e-9, dtype=torch.float64)
        if state < 2:
            chances[:, 5], chances[:, 6] = 0.5, 0.5 * math.exp(-self.gap)
        else:
            chances[:, EOS] = 1
        return chances.log(), state + 1

    def reorder(self, state: int, rows: Tensor, beam: int) -> int:  # as any model
        """Nothing moves."""
        return state


@pytest.mark.parametrize(("gap", "firsts"), [(0.6, {5}), (0.4, {5, 6})], ids=["too dear", "worth it"])
def test_the_price_decides_between_near_tokens(gap: float, firsts: set[int]) -> None:
    """A second group leaves the first one's token where the next is less than the price behind (equation 6)."""
    config = SearchConfig(beam=2, groups=2, diversity=0.5, max_length_constant=3)
    found = diverse_beam_search(TwoWords(gap), *make_batch([3]), config, 2)[0]
    assert {item.tokens[0] for item in found} == firsts


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_finds_what_its_sentences_find_alone(name: str) -> None:
    """Diverse beam search gives the same hypotheses for a sentence in a batch as by itself."""
    model = make_model(name)
    sizes = [6, 4, 2]
    source, lengths = make_batch(sizes)
    config = SearchConfig(beam=4, groups=2, max_length_constant=3)
    together = diverse_beam_search(model, source, lengths, config, 4)
    for row, size in enumerate(sizes):
        alone = diverse_beam_search(model, source[row : row + 1, :size], lengths[row : row + 1], config, 4)[0]
        assert [item.tokens for item in alone] == [item.tokens for item in together[row]]


@pytest.mark.parametrize("stopping", ["count", "exact"])
def test_what_has_ended_costs_nothing(stopping: Literal["count", "exact"], monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that is closed, or has fewer hypotheses than room, prices no token: with kernels and without they agree."""
    model = make_model("transformer")
    source, lengths = make_batch([6, 4, 2, 1])
    config = SearchConfig(beam=18, groups=3, diversity=8.0, stopping=stopping, max_length_constant=6)
    fast = diverse_beam_search(model, source, lengths, config, 18)
    monkeypatch.setattr(candidates, "kernels_for", lambda _: None)
    plain = diverse_beam_search(model, source, lengths, config, 18)
    assert [[item.tokens for item in found] for found in plain] == [[item.tokens for item in found] for found in fast]
