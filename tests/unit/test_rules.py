"""What search may and may not say: each rule does what it says, alone and in a search."""

from __future__ import annotations

import pytest
import torch

from nmt.config import SearchConfig
from nmt.rules import Extension, Forbidden, MinimumLength, NoRepeatedNgram, Prefix, RepetitionPenalty, Rule
from nmt.search import Hypothesis, beam_search, configured_rules
from nmt.tokenizer import EOS
from tiny import make_batch, make_model

NAMES = ["bottleneck", "additive", "transformer"]


def _extension(history: list[list[int]], beam: int = 1) -> Extension:
    rows = torch.tensor(history, dtype=torch.long)
    return Extension(torch.arange(len(rows) // beam), rows, beam)


def _search(name: str, rules: list[Rule], beam: int = 3, best: int = 3) -> list[list[Hypothesis]]:
    source, lengths = make_batch([5, 4, 2])
    config = SearchConfig(beam=beam, max_length_ratio=1.0, max_length_constant=4)
    return beam_search(make_model(name), source, lengths, config, best, rules)


def _ngrams(tokens: list[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1)]


@pytest.mark.parametrize("name", NAMES)
def test_no_ngram_comes_twice(name: str) -> None:
    for found in _search(name, [NoRepeatedNgram(2)]):
        for hypothesis in found:
            ngrams = _ngrams(hypothesis.tokens, 2)
            assert len(ngrams) == len(set(ngrams))


@pytest.mark.parametrize("name", NAMES)
def test_a_translation_begins_with_its_prefix_and_costs_its_price(name: str) -> None:
    """One sentence has none; the log-probability counts the forced tokens."""
    prefixes = [[7, 8, 9], [], [5]]
    model = make_model(name)
    source, lengths = make_batch([5, 4, 2])
    for row, found in enumerate(_search(name, [Prefix(prefixes)])):
        assert found
        for hypothesis in found:
            assert hypothesis.tokens[: len(prefixes[row])] == prefixes[row]
            target = torch.tensor([[2, *hypothesis.tokens]])
            single = source[row : row + 1, : lengths[row]]
            every = model.log_probabilities(single, lengths[row : row + 1], target)[0]
            said = torch.tensor([*hypothesis.tokens, EOS])
            total = every.gather(1, said[:, None]).sum().item()
            assert hypothesis.log_probability == pytest.approx(total, abs=1e-9)


def test_no_rule_forbids_a_prefix() -> None:
    """It may hold what is forbidden, or repeat itself; from its end on the rules hold."""
    rules = [Forbidden([[7]]), NoRepeatedNgram(2), MinimumLength(4), RepetitionPenalty(2.0)]
    plain, ruled = (_search("transformer", [Prefix([[7, 8, 7, 8], [9], []], then)]) for then in ((), rules))
    assert all(found for found in ruled)
    for item in ruled[0]:
        assert item.tokens[:4] == [7, 8, 7, 8]
        assert 7 not in item.tokens[4:]
    assert ruled[0][0].log_probability <= plain[0][0].log_probability


def test_a_prefix_is_kept_by_greedy_search() -> None:
    found = _search("transformer", [Prefix([[7, 8], [9], []])], beam=1, best=1)
    assert found[0][0].tokens[:2] == [7, 8]
    assert found[1][0].tokens[:1] == [9]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_ends_before_the_minimum(name: str) -> None:
    assert all(len(item.tokens) >= 4 for found in _search(name, [MinimumLength(4)]) for item in found)


@pytest.mark.parametrize("name", NAMES)
def test_forbidden_phrases_are_never_said(name: str) -> None:
    free = max((found[0].tokens for found in _search(name, [])), key=len)
    phrases = [free[:1], free[1:3]]
    for found in _search(name, [Forbidden(phrases)]):
        for item in found:
            assert free[0] not in item.tokens
            assert tuple(phrases[1]) not in _ngrams(item.tokens, 2)


def test_said_tokens_cost_more() -> None:
    log_probabilities = torch.full((2, 6), -2.0)
    RepetitionPenalty(1.5)(log_probabilities, _extension([[4, 4], [5, 4]]))
    assert log_probabilities.tolist() == [[-2, -2, -2, -2, -3, -2], [-2, -2, -2, -2, -3, -3]]


def test_settings_name_their_rules() -> None:
    assert configured_rules(SearchConfig()) == []
    config = SearchConfig(min_length=2, no_repeat_ngram=3, repetition_penalty=1.2)
    assert configured_rules(config) == [MinimumLength(2), NoRepeatedNgram(3), RepetitionPenalty(1.2)]
