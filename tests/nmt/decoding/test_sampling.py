"""Sampling draws from the model's distribution, the same for any batch, and truncations leave what they say."""

from __future__ import annotations

import math

import pytest
import torch

from nmt.config.search import SamplingConfig, SearchConfig
from nmt.corpus.tokenizer import BOS, EOS
from nmt.decoding.beam_search import beam_search
from nmt.decoding.rules import Extension
from nmt.decoding.sampling import sample, truncated
from tiny import make_batch, make_model

NAMES = ["bottleneck", "additive", "transformer"]


def test_truncations_keep_what_they_say() -> None:
    """Top-k, nucleus, epsilon and min-p truncation leave exactly the tokens of their definitions."""
    log_probabilities = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64).log()

    def kept(**settings: float) -> list[int]:
        return (
            truncated(log_probabilities, SamplingConfig.model_validate(settings))[0].isfinite().nonzero()[:, 0].tolist()
        )

    assert kept() == [0, 1, 2, 3]
    assert kept(top_k=2) == [0, 1]
    assert kept(top_p=0.5) == [0]
    assert kept(top_p=0.6) == [0, 1]
    assert kept(epsilon=0.1) == [0, 1, 2]
    assert kept(epsilon=0.9) == [0]  # the most probable always stays
    assert kept(min_p=0.5) == [0, 1]


def test_a_draw_ends_where_nothing_may_be_said() -> None:
    """It has a probability then, and repeats no token."""
    model = make_model("additive")
    source, lengths = make_batch([6, 5])

    def silent(log_probabilities: torch.Tensor, extension: Extension) -> None:
        if extension.history.shape[1] == 2:
            log_probabilities.fill_(-torch.inf)

    config = SearchConfig(beam=3, max_length_constant=9)
    for items in sample(model, source, lengths, config, SamplingConfig(), [0, 1], [silent]):
        for item in items:
            assert len(item.tokens) <= 2
            assert math.isfinite(item.log_probability)


@pytest.mark.parametrize("name", NAMES)
def test_draws_do_not_depend_on_the_batch(name: str) -> None:
    """Only on the seed and the number of the sentence."""
    model = make_model(name)
    config, sampling = SearchConfig(beam=2, max_length_constant=3), SamplingConfig(seed=5)
    source, lengths = make_batch([6, 5, 3])
    together = sample(model, source, lengths, config, sampling, [10, 11, 12])
    for row, length in enumerate([6, 5, 3]):
        single = source[row : row + 1, :length]
        alone = sample(model, single, lengths[row : row + 1], config, sampling, [10 + row])
        assert [item.tokens for item in alone[0]] == [item.tokens for item in together[row]]
    other = sample(model, source, lengths, config, SamplingConfig(seed=6), [10, 11, 12])
    assert other != together


@pytest.mark.parametrize("name", NAMES)
def test_log_probabilities_are_the_models_own(name: str) -> None:
    """Whatever the temperature and truncation."""
    model = make_model(name)
    source, lengths = make_batch([4])
    config, sampling = SearchConfig(beam=3, max_length_constant=3), SamplingConfig(temperature=0.7, top_p=0.9)
    for item in sample(model, source, lengths, config, sampling, [0])[0]:
        every = model.log_probabilities(source, lengths, torch.tensor([[BOS, *item.tokens]]))[0]
        total = every.gather(1, torch.tensor([*item.tokens, EOS])[:, None]).sum().item()
        assert item.log_probability == pytest.approx(total, abs=1e-9)


def test_the_coldest_draw_is_greedy() -> None:
    """Sampling from the single most probable token finds the translation of greedy search."""
    model = make_model("transformer")
    source, lengths = make_batch([6, 4])
    config = SearchConfig(beam=1, max_length_constant=3)
    cold = sample(model, source, lengths, config, SamplingConfig(top_k=1), [0, 1])
    greedy = beam_search(model, source, lengths, config)
    assert [found[0].tokens for found in cold] == [found[0].tokens for found in greedy]


def test_draws_follow_the_distribution() -> None:
    """First words of 4,000 samples against their probabilities, within four standard errors."""
    model = make_model("additive")
    source, lengths = make_batch([3])
    count = 4000
    config = SearchConfig(beam=count, max_length_ratio=0, max_length_constant=1)
    drawn = sample(model, source, lengths, config, SamplingConfig(), [0])[0]
    firsts = torch.tensor([item.tokens[0] if item.tokens else EOS for item in drawn])
    expected = model.log_probabilities(source, lengths, torch.tensor([[BOS]]))[0, 0].exp()
    expected[[0, BOS]] = 0
    expected /= expected.sum()
    shares = torch.bincount(firsts, minlength=len(expected)) / count
    error = (expected * (1 - expected) / count).sqrt()
    assert ((shares - expected).abs() <= 4 * error + 1e-9).all()
