"""What search may and may not say: each rule does what it says, alone and in a search."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from nmt.config.search import SamplingConfig, SearchConfig
from nmt.corpus.tokenizer import EOS
from nmt.decoding.beam_search import Hypothesis, beam_search, configured_rules
from nmt.decoding.constrained import Required, constrained_beam_search
from nmt.decoding.diverse import diverse_beam_search
from nmt.decoding.lookahead import Lookahead
from nmt.decoding.phrases import Phrases
from nmt.decoding.rules import Extension, Forbidden, MinimumLength, NoRepeatedNgram, Prefix, RepetitionPenalty, Rule
from nmt.decoding.sampling import sample
from tiny import SPELLED, make_batch, make_model

PREFIXES = [[4, 12, 4, 12], [9], []]
NAMES = ["bottleneck", "additive", "transformer"]


def _extension(history: list[list[int]], beam: int = 1) -> Extension:
    rows = torch.tensor(history, dtype=torch.long)
    return Extension(torch.arange(len(rows) // beam), rows, beam)


def _forbidden(*phrases: str, begins: list[list[int]] | None = None) -> Forbidden:
    return Forbidden(Lookahead(Phrases(phrases), SPELLED, torch.device("cpu")), begins=begins or ())


def _says(tokens: list[int], phrase: str) -> bool:
    line = " ".join("".join(str(SPELLED[token]) for token in tokens).split())
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", line) is not None


def _search(name: str, rules: list[Rule], beam: int = 3, best: int = 3) -> list[list[Hypothesis]]:
    source, lengths = make_batch([5, 4, 2])
    config = SearchConfig(beam=beam, max_length_ratio=1.0, max_length_constant=4)
    return beam_search(make_model(name), source, lengths, config, best, rules)


def _ngrams(tokens: list[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1)]


@pytest.mark.parametrize("name", NAMES)
def test_no_ngram_comes_twice(name: str) -> None:
    """Under the rule no hypothesis contains the same bigram twice."""
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
    rules = [_forbidden("a", begins=PREFIXES), NoRepeatedNgram(2), MinimumLength(4), RepetitionPenalty(2.0)]
    ruled = _search("transformer", [Prefix(PREFIXES, rules)])
    assert all(found for found in ruled)
    for item in ruled[0]:
        assert item.tokens[:4] == [4, 12, 4, 12]
        assert not _says(item.tokens[4:], "a")


def test_a_prefix_is_kept_by_greedy_search() -> None:
    """The greedy translation of each sentence begins with its required tokens."""
    found = _search("transformer", [Prefix([[7, 8], [9], []])], beam=1, best=1)
    assert found[0][0].tokens[:2] == [7, 8]
    assert found[1][0].tokens[:1] == [9]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_ends_before_the_minimum(name: str) -> None:
    """With a minimum length of four, every hypothesis has at least four tokens."""
    assert all(len(item.tokens) >= 4 for found in _search(name, [MinimumLength(4)]) for item in found)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("phrases", [["a"], ["ab", "b"], ["a b", "w13"], ["ab."], ["aba", "w12 w12", "a."]])
def test_forbidden_phrases_are_never_said(name: str, phrases: list[str]) -> None:
    """In no pieces, by any search, not at the length limit either."""
    rule = _forbidden(*phrases)
    model = make_model(name)
    source, lengths = make_batch([5, 4, 2])
    config = SearchConfig(beam=4, groups=2, max_length_ratio=1.0, max_length_constant=4)
    required = [Required(Phrases([]), [], SPELLED, {})] * 3
    results = [
        _search(name, [rule]),
        diverse_beam_search(model, source, lengths, config, 4, [rule]),
        constrained_beam_search(model, source, lengths, config, required, 4, [rule]),
        sample(model, source, lengths, config, SamplingConfig(), range(3), [dataclasses.replace(rule, strict=True)]),
    ]
    for item in (item for found in results for items in found for item in items):
        assert not any(_says(item.tokens, phrase) for phrase in phrases), item
        assert not rule.broken_by(item.tokens)


def test_longer_words_are_left() -> None:
    """Where "a" is forbidden "ab" may be said, also as " a" and "b"; what the model would end there is given up."""
    rule, history = _forbidden("a"), [[4], [4]]
    log_probabilities = torch.full((2, 23), -9.0)
    log_probabilities[0, 8] = log_probabilities[1, EOS] = -0.1
    rule(log_probabilities, _extension(history))
    assert log_probabilities[0].isfinite().nonzero().flatten().tolist() == [0, 2, 7, 8, 9]
    assert log_probabilities[1].isneginf().all()
    fresh = torch.full((1, 23), -1.0)
    rule(fresh, _extension([[12]]))
    assert bool(fresh.isfinite().all())
    dataclasses.replace(rule, strict=True)(fresh, _extension([[12]]))
    assert fresh.isneginf().nonzero()[:, 1].tolist() == [4]


def test_said_tokens_cost_more() -> None:
    """The repetition penalty multiplies the log-probability of each token already produced, once."""
    log_probabilities = torch.full((2, 6), -2.0)
    RepetitionPenalty(1.5)(log_probabilities, _extension([[4, 4], [5, 4]]))
    assert log_probabilities.tolist() == [[-2, -2, -2, -2, -3, -2], [-2, -2, -2, -2, -3, -3]]


def test_settings_name_their_rules() -> None:
    """Search settings create the corresponding rules, and the defaults create none."""
    assert configured_rules(SearchConfig()) == []
    config = SearchConfig(min_length=2, no_repeat_ngram=3, repetition_penalty=1.2)
    assert configured_rules(config) == [MinimumLength(2), NoRepeatedNgram(3), RepetitionPenalty(1.2)]
