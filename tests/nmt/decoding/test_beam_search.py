"""Beam search: right against exhaustive search, the same for any batch, and its scores are the model's own."""

from __future__ import annotations

import itertools
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.decoding.beam_search import Hypothesis, beam_search, length_limits, length_penalty, score_targets
from nmt.decoding.candidates import best_extensions
from nmt.models import Model
from tiny import VOCABULARY, Table, make_batch, make_model

Penalty = Literal["none", "average", "gnmt"]
PENALTIES: list[Penalty] = ["none", "average", "gnmt"]


@pytest.mark.parametrize("vocabulary", [3, 65, 640, 1283, 9001])
@pytest.mark.parametrize(("sentences", "beam"), [(1, 1), (1, 5), (7, 4), (40, 1)])
def test_the_best_extensions_are_those_of_a_full_sort(vocabulary: int, sentences: int, beam: int) -> None:
    """However often the vocabulary is folded, and with hypotheses and tokens that cannot go on among them."""
    generator = torch.Generator().manual_seed(vocabulary)
    scores = torch.randn(sentences, beam, generator=generator, dtype=torch.float64)
    rows = torch.randn(sentences * beam, vocabulary, generator=generator).log_softmax(-1)
    rows[:, 0] = -torch.inf
    if beam > 2:
        scores[:, 1] = -torch.inf
    count = 2 * beam
    every = (rows.unflatten(0, (sentences, beam)) + scores[:, :, None]).flatten(1).sort(1, descending=True)
    values, origins, tokens = best_extensions(scores, rows, count)
    there = min(count, every.values.shape[1])
    torch.testing.assert_close(values[:, :there], every.values[:, :there])
    assert values[:, there:].isneginf().all()
    same = (origins * vocabulary + tokens)[:, :there] == every.indices[:, :there]
    assert (same | values[:, :there].isneginf()).all()


def _exhaustive(table: Table, source: int, longest: int, config: SearchConfig) -> list[Hypothesis]:
    """Every sequence up to the limit, best first."""
    words = [token for token in range(table.logits.shape[2]) if token not in (PAD, BOS, EOS)]
    probabilities = table.logits[source].log_softmax(-1)
    found: list[Hypothesis] = []
    for length in range(longest):
        for sequence in itertools.product(words, repeat=length):
            total = 0.0
            for position, (last, token) in enumerate(zip([BOS, *sequence], [*sequence, EOS], strict=True)):
                total += probabilities[position, last, token].item()
            divisor = length_penalty(config)(torch.tensor(length + 1.0, dtype=torch.float64)).item()
            found.append(Hypothesis(list(sequence), total, total / divisor, length + 1 == longest))
    return sorted(found, key=lambda item: -item.score)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("seed", range(5))
def test_an_unbounded_beam_finds_what_exhaustive_search_finds(penalty: Penalty, seed: int) -> None:
    """Four words, up to five tokens, every length penalty: the three best, in order, with their scores."""
    generator = torch.Generator().manual_seed(seed)
    table = Table(2 * torch.randn(2, 6, 7, 7, generator=generator, dtype=torch.float64))
    config = SearchConfig(beam=700, length_penalty=penalty, alpha=0.8, max_length_ratio=0, max_length_constant=4)
    results = beam_search(table, torch.tensor([[0], [1]]), torch.tensor([1, 1]), config, best=3)
    for source, found in enumerate(results):
        expected = _exhaustive(table, source, 5, config)[:3]
        assert [item.tokens for item in found] == [item.tokens for item in expected]
        assert [item.score for item in found] == pytest.approx([item.score for item in expected])
        assert [item.log_probability for item in found] == pytest.approx([item.log_probability for item in expected])


@pytest.mark.parametrize("penalty", PENALTIES)
def test_stopping_early_loses_nothing(penalty: Penalty) -> None:
    """The stopping rule is right: a search that is never allowed to stop before its limit finds no better hypothesis."""
    generator = torch.Generator().manual_seed(11)
    table = Table(torch.randn(8, 40, 9, 9, generator=generator, dtype=torch.float64))
    source, lengths = torch.arange(8)[:, None], torch.ones(8, dtype=torch.long)
    config = SearchConfig(beam=4, length_penalty=penalty, max_length_ratio=0, max_length_constant=30)
    stopped = beam_search(table, source, lengths, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "nmt.decoding.beam_search.Finished.closes", lambda *given: torch.zeros_like(given[3], dtype=torch.bool)
        )
        full = beam_search(table, source, lengths, config)
    assert [found[0].tokens for found in stopped] == [found[0].tokens for found in full]


def test_greedy_search_is_a_beam_of_one(model: Model) -> None:
    """It takes the most probable token until that is the end."""
    source, lengths = make_batch([9, 4, 7, 2])
    config = SearchConfig(beam=1, length_penalty="none")
    limits = length_limits(lengths, config).tolist()
    for row, found in enumerate(beam_search(model, source, lengths, config)):
        state = model.start(model.encode(source[row : row + 1, : int(lengths[row])], lengths[row : row + 1]), 1)
        token, tokens = BOS, list[int]()
        while len(tokens) < limits[row] - 1:
            logits, state = model.step(state, torch.tensor([token]))
            logits[:, [PAD, BOS]] = -torch.inf
            token = int(logits.argmax())
            if token == EOS:
                break
            tokens.append(token)
        assert found[0].tokens == tokens


@pytest.mark.parametrize("penalty", PENALTIES)
def test_beam_scores_are_forced_decoding_scores(model: Model, penalty: Penalty) -> None:
    """The log-probability that search reports is that of the sequence, end of sentence counted."""
    source, lengths = make_batch([9, 4, 7, 2])
    config = SearchConfig(beam=4, length_penalty=penalty, alpha=0.7)
    for row, hypotheses in enumerate(beam_search(model, source, lengths, config, best=4)):
        for item in hypotheses:
            forced = _forced(model, source[row : row + 1], lengths[row : row + 1], item.tokens)
            assert item.log_probability == pytest.approx(forced, abs=1e-9)
            divisor = length_penalty(config)(torch.tensor(len(item.tokens) + 1.0, dtype=torch.float64)).item()
            assert item.score == pytest.approx(forced / divisor, abs=1e-9)


def _forced(model: Model, source: torch.Tensor, length: torch.Tensor, tokens: list[int]) -> float:
    inputs, outputs = torch.tensor([[BOS, *tokens]]), torch.tensor([[*tokens, EOS]])
    return score_targets(model, source, length, inputs, outputs).sum().item()


@settings(max_examples=6, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=7),
    st.integers(1, 6),
    st.sampled_from(sorted(("additive", "transformer"))),
)
def test_a_batch_is_so_many_singles(lengths: list[int], beam: int, family: str) -> None:
    """The same hypotheses, whatever stands beside a sentence and however far it is padded."""
    model = make_model(family)
    source, sizes = make_batch(lengths, seed=len(lengths))
    config = SearchConfig(beam=beam)
    together = beam_search(model, source, sizes, config, best=beam)
    for row, length in enumerate(lengths):
        alone = beam_search(model, source[row : row + 1, :length], sizes[row : row + 1], config, best=beam)[0]
        assert [item.tokens for item in together[row]] == [item.tokens for item in alone]
        assert [item.score for item in together[row]] == pytest.approx([item.score for item in alone])


def test_more_beam_never_fails_and_n_best_are_distinct(model: Model) -> None:
    """A beam larger than the vocabulary works, and its ten hypotheses are different and sorted."""
    source, lengths = make_batch([5, 3])
    found = beam_search(model, source, lengths, SearchConfig(beam=2 * VOCABULARY), best=10)
    for hypotheses in found:
        assert len({tuple(item.tokens) for item in hypotheses}) == len(hypotheses) == 10
        assert [item.score for item in hypotheses] == sorted((item.score for item in hypotheses), reverse=True)


def test_the_length_limit_is_kept_and_marked(model: Model) -> None:
    """No translation is longer than allowed; one that was ended by force says so."""
    source, lengths = make_batch([9, 4, 2])
    config = SearchConfig(beam=3, max_length_ratio=0.5, max_length_constant=1)
    for limit, found in zip([5, 3, 2], beam_search(model, source, lengths, config), strict=True):
        assert len(found[0].tokens) <= limit
        assert not found[0].cut or len(found[0].tokens) == limit
