"""A model made ready for search says what the model says; ensembles and alignments do what their formulas say."""

from __future__ import annotations

import math
from typing import Literal, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.config.data import TokenizerConfig
from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import BOS, EOS, UNK, Tokenizer
from nmt.decoding.beam_search import beam_search
from nmt.decoding.candidates import best_extensions
from nmt.decoding.ensemble import Ensemble
from nmt.errors import ConfigError
from nmt.fast.cpu.exponential_score import ExponentialScore
from nmt.fast.cpu.linear import PackedLinear
from nmt.fast.inference import for_inference
from nmt.models import build_model
from nmt.models.rnn.scores import AdditiveScore, make_score
from nmt.models.softmax import softmax
from nmt.runtime.device import SearchPrecision, onednn_products, products_for
from nmt.translation.alignment import align_words, coverage, word_numbers
from tiny import FAMILIES, VISUAL, make_batch, make_model

CPU = torch.device("cpu")
Kind = Literal["bpe", "word", "character"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TOKENIZERS = {kind: Tokenizer.train(["ab ba abba , a b"], TokenizerConfig(kind=kind, vocabulary=14)) for kind in KINDS}


@pytest.mark.parametrize("name", list(FAMILIES | VISUAL))
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.2), ("int8", 0.2)])
def test_a_ready_model_says_what_the_model_says(name: str, precision: SearchPrecision, tolerance: float) -> None:
    """Log-probabilities of forced targets, within the rounding of the precision; the model itself stays as it was."""
    torch.manual_seed(1)
    model = build_model((FAMILIES | VISUAL)[name], 23, 23).eval()
    source, lengths = make_batch([6, 4, 3])
    target = torch.randint(4, 23, (3, 5), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = model.log_probabilities(source, lengths, target)
        ready = for_inference(model, CPU, precision)
        found = ready.log_probabilities(source, lengths, target)
        assert (found - expected).abs().max() <= tolerance
        torch.testing.assert_close(model.log_probabilities(source, lengths, target), expected)
    assert len(beam_search(ready, source, lengths, SearchConfig(beam=2))) == 3


@given(
    sentences=st.integers(1, 3),
    beam=st.integers(1, 4),
    vocabulary=st.integers(3, 90),
    count=st.integers(1, 12),
    seed=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_thebest_extensions_are_those_of_all(sentences: int, beam: int, vocabulary: int, count: int, seed: int) -> None:
    """Against topk over the whole beam and vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(sentences * beam, vocabulary, generator=generator, dtype=torch.float64)
    scores = torch.randn(sentences, beam, generator=generator, dtype=torch.float64)
    found, origins, tokens = best_extensions(scores, values, count)
    everything = (values.view(sentences, beam, -1) + scores[:, :, None]).flatten(1)
    there = min(count, everything.shape[1])
    expected = everything.topk(there, 1)
    torch.testing.assert_close(found[:, :there], expected.values)
    assert torch.equal((origins * vocabulary + tokens)[:, :there], expected.indices)
    assert (found[:, there:] == -torch.inf).all()


def test_softmax_fills_up_to_whole_registers_and_changes_nothing() -> None:
    """Our softmax equals torch's, values and gradients, at widths that fill registers or not."""
    for width in (1, 5, 16, 17):
        scores = torch.randn(2, 3, width, dtype=torch.float32).requires_grad_()
        mine, theirs = softmax(scores), scores.softmax(-1)
        torch.testing.assert_close(mine, theirs)
        weights = torch.randn_like(mine)
        grads = [torch.autograd.grad((value * weights).sum(), scores)[0] for value in (mine, theirs)]
        torch.testing.assert_close(*grads)


def test_factored_additive_scores_give_the_same_weights() -> None:
    """Up to a constant, which the softmax does not see; with states as large as they come."""
    torch.manual_seed(0)
    score = make_score("additive", 12, 10).requires_grad_(False)
    assert isinstance(score, AdditiveScore)
    factored = ExponentialScore(score)
    query, values = 8 * torch.randn(2, 3, 12), 8 * torch.randn(2, 5, 10)
    expected = score(query, score.keys(values)).softmax(-1)
    torch.testing.assert_close(factored(query, factored.keys(values)).softmax(-1), expected, rtol=1e-4, atol=1e-6)


def test_faster_products_are_switched_back() -> None:
    """Reduced precision of products is limited to its context and large batches, then restored."""
    before = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]  # unknown to torch's types
    with onednn_products(True):
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"  # type: ignore[attr-defined]  # as above
        with products_for(rows=8):
            assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"  # type: ignore[attr-defined]  # as above
        with products_for(rows=800):
            assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"  # type: ignore[attr-defined]  # as above
    assert torch.backends.mkldnn.matmul.fp32_precision == before  # type: ignore[attr-defined]  # as above


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_every_precision_works_without_compiled_products(
    precision: SearchPrecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No kernels, and a oneDNN that refuses: torch's own operations search."""
    monkeypatch.setattr("nmt.fast.kernels.kernels", lambda *_: None)
    monkeypatch.setattr("nmt.fast.inference.kernels", lambda *_: None)
    monkeypatch.setattr("nmt.fast.cpu.linear._works", lambda *_: False)
    monkeypatch.setattr("nmt.fast.cpu.linear._is_exact", lambda _: False)
    ready = for_inference(make_model("transformer").float(), CPU, precision)
    assert not any(isinstance(part, PackedLinear) for part in ready.modules())
    source, lengths = make_batch([5, 3])
    assert len(beam_search(ready, source, lengths, SearchConfig(beam=2))) == 2


def test_an_ensemble_averages_probabilities() -> None:
    """At each step of a search, over families."""
    models = [make_model("transformer"), make_model("additive"), make_model("bottleneck")]
    ensemble = Ensemble(models)
    source, lengths = make_batch([5, 3])
    config = SearchConfig(beam=3, max_length_constant=3)
    for row, found in enumerate(beam_search(ensemble, source, lengths, config, best=3)):
        for item in found:
            target = torch.tensor([[BOS, *item.tokens]])
            single, length = source[row : row + 1, : lengths[row]], lengths[row : row + 1]
            each = torch.stack([model.log_probabilities(single, length, target)[0].exp() for model in models])
            every = each.mean(0).log()
            total = sum(every[place, token].item() for place, token in enumerate([*item.tokens, 3]))
            assert item.log_probability == pytest.approx(total, abs=1e-9)


def test_an_ensemble_of_one_is_the_model() -> None:
    """Beam search finds the same translations with a model and with its single-member ensemble."""
    model = make_model("transformer")
    source, lengths = make_batch([5, 3])
    config = SearchConfig(beam=2)
    alone, ensemble = (
        beam_search(model, source, lengths, config),
        beam_search(Ensemble([model]), source, lengths, config),
    )
    assert [found[0].tokens for found in alone] == [found[0].tokens for found in ensemble]


@pytest.mark.parametrize("name", ["additive", "additive-lstm", "dot", "transformer", "transformer-post"])
def test_attention_is_a_distribution_over_the_source(name: str) -> None:
    """Attention weights sum to one for each target position and are zero on padding."""
    source, lengths = make_batch([6, 3])
    weights = make_model(name).attention(source, lengths, torch.tensor([[BOS, 5, 6], [BOS, 7, 8]]))
    assert weights.shape == (2, 3, 6)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 3, dtype=torch.float64))
    assert (weights[1, :, 3:] == 0).all()


def test_a_fixed_vector_has_no_attention() -> None:
    """Asking for the attention weights of an RNN without attention is a configuration error."""
    source, lengths = make_batch([3])
    with pytest.raises(ConfigError, match="no attention"):
        make_model("bottleneck").attention(source, lengths, torch.tensor([[BOS]]))


def test_words_are_linked_by_the_sum_of_their_pieces() -> None:
    """Pieces are grouped into words, and links follow the summed attention of these groups."""
    assert word_numbers(["\u2581a", "b", "\u2581c", "d", "e"]) == [0, 0, 1, 1, 1]
    assert word_numbers(["b", "\u2581c"]) == [0, 1]
    said, unknown = ["<unk>", "a", "\u2581", "<unk>", "<unk>", "\u2581b"], [True, False, False, True, True, False]
    assert word_numbers(said, unknown) == [0, 1, 2, 2, 3, 4]

    weights = torch.tensor([[0.3, 0.3, 0.4], [0.1, 0.1, 0.8]])
    assert align_words(weights, [0, 0, 1], [0, 1]) == [(0, 0), (1, 1)]
    assert align_words(weights, [0, 0, 1], [0, 0]) == [(1, 0)]
    assert align_words(weights, [], [0]) == []


@given(st.sampled_from(KINDS), st.lists(st.integers(UNK, 40), max_size=12))
def test_words_of_a_translation_are_those_of_its_text(kind: Kind, tokens: list[int]) -> None:
    """Grouping the pieces of a translation gives as many words as its decoded text has."""
    tokenizer = TOKENIZERS[kind]
    tokens = [UNK if token in (BOS, EOS) else token for token in tokens if token < tokenizer.vocabulary_size]
    numbers = word_numbers(tokenizer.id_to_pieces(tokens), [token == UNK for token in tokens])
    words = tokenizer.decode([tokens])[0].split()
    assert not words or numbers[-1] + 1 == len(words)


def test_coverage_follows_its_formula() -> None:
    """Beta * sum_i log(min(sum_j a_ij, 1)), over real source positions."""
    weights = torch.tensor([[[0.5, 0.5, 0.0], [0.9, 0.1, 0.0]]])
    found = coverage(weights, torch.tensor([2])).item()
    assert found == pytest.approx(math.log(1.0) + math.log(0.6), rel=1e-6)
