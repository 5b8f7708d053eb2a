"""Convolutional models in rows compute what they do in double precision, row by row; search finds the same with and without."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nmt.config.model import ConvolutionConfig
from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import BOS, PAD
from nmt.decoding.beam_search import beam_search
from nmt.fast.cpu.convolution_search import ConvolutionByKernels
from nmt.fast.inference import fastest_decoder, for_inference
from nmt.fast.kernels import Kernels
from nmt.models import Convolution, build_model
from nmt.runtime.device import SearchPrecision

CPU = torch.device("cpu")
VOCABULARY = 40


def _model(embedding: int = 32, hidden: int = 48, kernel: int = 3, layers: int = 2, seed: int = 1) -> Convolution:
    torch.manual_seed(seed)
    config = ConvolutionConfig(
        embedding=embedding, hidden=hidden, kernel=kernel, encoder_layers=1, decoder_layers=layers, positions=4
    )
    model = build_model(config, VOCABULARY, VOCABULARY).eval()
    assert isinstance(model, Convolution)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def _sources(lengths: list[int], seed: int) -> tuple[Tensor, Tensor]:
    generator, counts = torch.Generator().manual_seed(seed), torch.tensor(lengths)
    source = torch.randint(4, VOCABULARY, (len(lengths), max(lengths)), generator=generator)
    return source.masked_fill(torch.arange(max(lengths)) >= counts[:, None], PAD), counts


def _rows(model: Convolution, precision: SearchPrecision) -> ConvolutionByKernels:
    searched = fastest_decoder(for_inference(model, CPU, precision))
    assert isinstance(searched, ConvolutionByKernels)
    return searched


@given(
    embedding=st.sampled_from([16, 48]),
    hidden=st.sampled_from([32, 80]),
    kernel=st.sampled_from([1, 3, 5]),
    layers=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    beam=st.integers(1, 5),
    seed=st.integers(0, 999),
)
@settings(max_examples=8, deadline=None)
def test_steps_are_those_of_double_precision(
    kernels: Kernels, embedding: int, hidden: int, kernel: int, layers: int, lengths: list[int], beam: int, seed: int
) -> None:
    """Log-probabilities, while hypotheses go on from any of their sentence, sentences leave and places run out."""
    assert kernels
    model = _model(embedding, hidden, kernel, layers, seed)
    source, counts = _sources(lengths, seed)
    fast, exact = _rows(model, "fp32"), for_inference(model.double(), CPU, "fp32")
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        states: list[Any] = [searched.start(searched.encode(source, counts), 1) for searched in (exact, fast)]
        sentences, before = len(lengths), 1
        for position in range(6):
            tokens = torch.randint(4, VOCABULARY, (sentences * before,), generator=generator)
            (wanted, states[0]), (found, states[1]) = exact.step(states[0], tokens), fast.step(states[1], tokens)
            torch.testing.assert_close(found.double().log_softmax(1), wanted.log_softmax(1), rtol=0, atol=1e-4)
            left = torch.arange(sentences)[1 if position == 2 and sentences > 1 else 0 :]
            rows = left[:, None] * before + torch.randint(before, (len(left), beam), generator=generator)
            states = [exact.reorder(states[0], rows.flatten(), beam), fast.reorder(states[1], rows.flatten(), beam)]
            sentences, before = len(left), beam


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_row_is_the_same_for_any_batch_and_threads(
    kernels: Kernels, precision: SearchPrecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit: logits of rows alone, beside others, and shared among threads."""
    assert kernels
    searched = _rows(_model(), precision)
    source, lengths = _sources([5, 5], 1)
    said = torch.tensor([[BOS, 4, 11, 12], [BOS, 4, 11, 13], [BOS, 20, 21, 22], [BOS, 30, 31, 32]])

    def logits(own: slice, said: Tensor, beam: int, threads: int) -> Tensor:
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        state, found = searched.start(memory.select(torch.arange(2)[own]), beam), []
        for tokens in said.T:
            out, state = searched.step(state, tokens)
            found.append(out)
        return torch.stack(found, 1)  # (R, T, V)

    with torch.inference_mode():
        memory = searched.encode(source, lengths)
        together = logits(slice(0, 2), said, 2, 1)
        assert torch.equal(logits(slice(0, 2), said, 2, 3), together)
        for row in range(4):
            alone = logits(slice(row // 2, row // 2 + 1), said[row : row + 1], 1, 1)
            assert torch.equal(alone[0], together[row])


def test_search_finds_the_same_in_rows(kernels: Kernels) -> None:
    """All hypotheses of sentences of unlike length; scores within rounding."""
    assert kernels
    plain = for_inference(_model(), CPU, "fp32")
    source, lengths = _sources([9, 6, 1], 1)
    config = SearchConfig(beam=4, max_length_ratio=1.5, max_length_constant=3)
    found = [beam_search(model, source, lengths, config, 4) for model in (plain, fastest_decoder(plain))]
    for one, two in zip(*found, strict=True):
        assert [item.tokens for item in one] == [item.tokens for item in two]
        for left, right in zip(one, two, strict=True):
            assert math.isclose(left.log_probability, right.log_probability, abs_tol=1e-3)


def test_what_the_kernels_do_not_know_is_searched_without_them() -> None:
    """Widths that are no whole vectors, and double precision."""
    for model in (for_inference(_model(embedding=24), CPU, "fp32"), _model().double()):
        assert fastest_decoder(model) is model
