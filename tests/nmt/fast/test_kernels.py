"""The compiled kernels compute what torch's operations do, row by row; search finds the same with and without them."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nmt.config.model import PositionName, TransformerConfig
from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.decoding.beam_search import Hypothesis, beam_search
from nmt.decoding.compiled import fastest_search
from nmt.fast.cpu.transformer_search import TransformerByKernels
from nmt.fast.inference import fastest_decoder, for_inference
from nmt.fast.kernels import Kernels, _is_right
from nmt.fast.slots import TransformerBySlots
from nmt.models import Transformer, build_model
from nmt.runtime.device import SearchPrecision

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16]


def test_they_are_right_whatever_torch_takes_by_default(kernels: Kernels) -> None:
    """What is tried before use has types of its own: a training in float64 loads them too."""
    torch.set_default_dtype(torch.float64)
    try:
        assert _is_right(kernels)
    finally:
        torch.set_default_dtype(torch.float32)


@given(
    sentences=st.integers(1, 3),
    beam=st.integers(1, 5),
    vocabulary=st.integers(5, 300),
    count=st.integers(1, 12),
    seed=st.integers(0, 999),
    half=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_extensions_are_the_best_of_all(
    kernels: Kernels, sentences: int, beam: int, vocabulary: int, count: int, seed: int, half: bool
) -> None:
    """Against a full sort in double precision: normalised, without padding and begin, ended at the limit."""
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(sentences * beam, vocabulary, generator=generator) * 4).to(DTYPES[half])
    scores = -torch.rand(sentences, beam, generator=generator, dtype=torch.float64) * 9
    scores[torch.rand(sentences, beam, generator=generator) < 0.2] = -torch.inf
    at_limit = torch.rand(sentences, generator=generator) < 0.3
    table = logits.double().log_softmax(-1).unflatten(0, (-1, beam)) + scores[:, :, None]  # (B, K, V)
    table[:, :, [PAD, BOS]] = -torch.inf
    others = torch.arange(vocabulary) != EOS
    table.masked_fill_(at_limit[:, None, None] & others, -torch.inf)
    values, origins, tokens = kernels.best_extensions(scores, logits, count, normalised=False, at_limit=at_limit)
    expected = table.flatten(1).sort(1, descending=True).values[:, :count]
    there = expected.shape[1]
    torch.testing.assert_close(values[:, :there], expected, rtol=0, atol=2e-6)
    assert (values[:, there:] == -torch.inf).all()
    found = table[torch.arange(sentences)[:, None], origins, tokens]
    torch.testing.assert_close(values, found.masked_fill(values == -torch.inf, -torch.inf), rtol=0, atol=2e-6)
    if not half:  # there may be equal ones among bfloat16
        pairs = [set(zip(*row, strict=True)) for row in zip(origins.tolist(), tokens.tolist(), strict=True)]
        ended = (values > -torch.inf).sum(1).tolist()
        assert all(len(pair) >= real for pair, real in zip(pairs, ended, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [16, 33, 256])
@pytest.mark.parametrize("zero", [128, 0])
def test_integers_and_back(kernels: Kernels, dtype: torch.dtype, width: int, zero: int) -> None:
    """To the nearest of 255 steps, by the largest number of each row; and products of integers as numbers."""
    torch.manual_seed(width)
    states = (torch.randn(5, width) * torch.tensor([1e-3, 1, 50, 0, 7])[:, None]).to(dtype)
    states = states if zero else states.relu()
    integers, scales = kernels.quantise(states, zero)
    steps = states.double() / scales.double()[:, None]
    torch.testing.assert_close(scales, states.float().abs().amax(1).clamp(min=1e-10) / (255 - zero))
    assert (integers.double() - zero - steps).abs().max() <= 0.5001
    product, bias = torch.randn(5, width) * 100, torch.randn(width)
    expected = product.double() * scales.double()[:, None] + bias
    for relu in (False, True):
        found = kernels.rescale(product.clone(), scales, bias, relu, dtype)
        assert found.dtype == dtype
        wanted = (expected.relu() if relu else expected).float().to(dtype)
        torch.testing.assert_close(found, wanted, rtol=1e-2 if dtype != torch.float32 else 1e-6, atol=1e-5)


def _transformer(**changes: str | bool) -> Transformer:
    torch.manual_seed(5)
    config = TransformerConfig.model_validate(
        {"width": 32, "feed_forward": 48, "heads": 2, "encoder_layers": 2, "decoder_layers": 2} | changes
    )
    model = build_model(config, 40, 40).eval()
    assert isinstance(model, Transformer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2).add_(torch.randn_like(parameter) * 0.1)
    return model


def _found(
    model: Transformer, source: Tensor, lengths: Tensor, config: SearchConfig, rows: bool
) -> list[list[Hypothesis]]:
    ready = for_inference(model, CPU, "fp32")
    if rows:
        return fastest_search(CPU)(fastest_decoder(ready), source, lengths, config, config.beam)
    return beam_search(ready, source, lengths, config, config.beam)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("positions", get_args(PositionName))
@pytest.mark.parametrize("beam", [1, 4])
def test_search_finds_the_same_in_rows(kernels: Kernels, norm: str, positions: str, beam: int) -> None:
    """All hypotheses of sentences of unlike length, as batch and one by one; scores within rounding."""
    assert kernels
    model = _transformer(norm=norm, positions=positions)
    lengths = torch.tensor([9, 7, 4, 1])
    source = torch.randint(4, 40, (4, 9), generator=torch.Generator().manual_seed(1))
    source = source.masked_fill(torch.arange(9) >= lengths[:, None], PAD)
    config = SearchConfig(beam=beam, max_length_ratio=1.5, max_length_constant=3)
    assert isinstance(fastest_decoder(for_inference(model, CPU, "fp32")), TransformerByKernels)
    plain, fast = (_found(model, source, lengths, config, rows) for rows in (False, True))
    for one, two in zip(plain, fast, strict=True):
        assert [item.tokens for item in one] == [item.tokens for item in two]
        for left, right in zip(one, two, strict=True):
            assert math.isclose(left.log_probability, right.log_probability, abs_tol=1e-3)
    for row, length in enumerate(lengths.tolist()):
        (alone,) = _found(model, source[row : row + 1, :length], lengths[row : row + 1], config, True)
        assert [item.tokens for item in alone] == [item.tokens for item in fast[row]]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize(
    "changes",
    [{"norm": "post"}, {"positions": "alibi", "normalization": "rms"}, {"activation": "gelu", "residual": False}],
)
def test_a_step_is_the_same_for_any_batch_and_threads(
    kernels: Kernels, precision: SearchPrecision, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit: logits of rows alone, beside others, and shared among threads. In fp32 they are those of double precision."""
    assert kernels
    model = _transformer(**changes)
    searched = fastest_decoder(for_inference(model, CPU, precision))
    assert isinstance(searched, TransformerByKernels)
    source, lengths = torch.tensor([[5, 6, 7, EOS], [9, 8, EOS, PAD]]), torch.tensor([4, 3])
    said = torch.tensor([[BOS, 4, 11, 12, 13], [BOS, 4, 11, 13, 12], [BOS, 20, 21, 22, 23], [BOS, 30, 31, 32, 33]])

    def logits(sources: Tensor, lengths: Tensor, said: Tensor, beam: int, threads: int) -> Tensor:
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        state, found = searched.start(searched.encode(sources, lengths), beam), []
        for tokens in said.T:
            out, state = searched.step(state, tokens)
            found.append(out)
        return torch.stack(found, 1)  # (R, T, V)

    with torch.inference_mode():
        together = logits(source, lengths, said, 2, 1)
        assert torch.equal(logits(source, lengths, said, 2, 3), together)
        for row in range(4):
            own = slice(row // 2, row // 2 + 1)
            real = int(lengths[row // 2])
            assert torch.equal(logits(source[own, :real], lengths[own], said[row : row + 1], 1, 1)[0], together[row])
        monkeypatch.undo()
        exact = model.double().log_probabilities(source.repeat_interleave(2, 0), lengths.repeat_interleave(2), said)
        if precision == "fp32":
            torch.testing.assert_close(together.double().log_softmax(-1), exact, rtol=0, atol=1e-3)


def test_what_the_kernels_do_not_know_is_searched_without_them() -> None:
    """Heads that are no multiple of a vector, and double precision."""
    narrow = build_model(TransformerConfig(width=24, feed_forward=32, heads=3), 40, 40).eval()
    for model in (for_inference(narrow, CPU, "fp32"), _transformer().double()):
        assert isinstance(fastest_decoder(model), TransformerBySlots)


@given(
    tokens=st.integers(1, 9),
    vocabulary=st.integers(1, 700),
    smoothing=st.sampled_from([0.0, 0.1]),
    weight=st.sampled_from([None, 0.5, 1.5]),
    seed=st.integers(0, 999),
    half=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_cross_entropy_is_that_of_torch(
    kernels: Kernels, tokens: int, vocabulary: int, smoothing: float, weight: float | None, seed: int, half: bool
) -> None:
    """Values and gradients against double precision, with and without a second pass."""
    generator = torch.Generator().manual_seed(seed)
    passes, tolerance = 1 if weight is None else 2, 0.01 if half else 1e-5
    logits = (torch.randn(passes * tokens, vocabulary, generator=generator) * 4).to(DTYPES[half])
    target = torch.randint(vocabulary, (tokens,), generator=generator).repeat(passes)
    exact = logits.double().requires_grad_()
    log_p = exact.log_softmax(1)
    expected = -log_p.gather(1, target[:, None]).squeeze(1)
    one, two = log_p[:tokens], log_p[-tokens:]
    apart = ((one.exp() - two.exp()) * (one - two)).sum(1)
    total = (1 - smoothing) * expected.sum() - smoothing * log_p.mean(1).sum() + (weight or 0.0) * apart.sum()
    columns = torch.zeros(vocabulary)
    kept = logits.clone()
    unchanged = kernels.cross_entropy(kept, target, smoothing, weight, None)
    assert torch.equal(kept, logits)
    negative, normaliser, right, divergence = kernels.cross_entropy(logits, target, smoothing, weight, columns)
    for value, again in zip((negative, normaliser, right, divergence), unchanged, strict=True):
        assert torch.equal(value, again)
    torch.testing.assert_close(negative.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(normaliser.double(), exact.logsumexp(1).detach(), rtol=1e-5, atol=1e-5)
    assert torch.equal(right, exact.gather(1, target[:, None]).squeeze(1) >= exact.amax(1))
    if weight:
        torch.testing.assert_close(divergence.double(), apart.detach(), rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(total, exact)
    torch.testing.assert_close(logits.double(), gradient, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(columns, logits.float().sum(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("place", [3, 40])
def test_what_is_not_finite_is_not_hidden(kernels: Kernels, broken: float, place: int) -> None:
    """In whole vectors as in what is left of the row: the update is to be left out."""
    logits = torch.zeros(2, 41)
    logits[1, place] = broken
    negative, normaliser, _, _ = kernels.cross_entropy(logits, torch.zeros(2, dtype=torch.long), 0.0, None, None)
    assert negative.isfinite().tolist() == normaliser.isfinite().tolist() == [True, False]


def test_cross_entropy_is_the_same_in_any_number_of_threads(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit."""
    torch.manual_seed(4)
    logits, target = torch.randn(20, 1000), torch.randint(1000, (10,)).repeat(2)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        changed, columns = logits.clone(), torch.zeros(1000)
        found.append([*kernels.cross_entropy(changed, target, 0.1, 1.0, columns), changed, columns])
    assert all(torch.equal(one, many) for one, many in zip(*found, strict=True))


def test_a_row_does_not_depend_on_its_batch(kernels: Kernels) -> None:
    """Bit for bit."""
    torch.manual_seed(2)
    logits, scores = torch.randn(6, 333) * 3, -torch.rand(6, 1, dtype=torch.float64)
    together = kernels.best_extensions(scores, logits, 4, normalised=False)
    for row in range(6):
        alone = kernels.best_extensions(scores[row : row + 1], logits[row : row + 1], 4, normalised=False)
        assert all(torch.equal(one[0], many[row]) for one, many in zip(alone, together, strict=True))
