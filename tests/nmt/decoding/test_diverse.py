"""Diverse beam search: plain search when there is one group, otherwise what its groups choose differs."""

from __future__ import annotations

import pytest
import torch

from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import BOS, EOS
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
