"""Recurrent models in rows compute what they do in double precision, row by row; search finds the same with and without."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nmt.config.model import RnnConfig
from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import BOS, PAD
from nmt.decoding.beam_search import beam_search
from nmt.decoding.ensemble import Ensemble
from nmt.fast.cpu import rnn_parts as recurrent_parts
from nmt.fast.cpu.rnn_search import RnnByKernels
from nmt.fast.inference import fastest_decoder, for_inference
from nmt.fast.kernels import Kernels
from nmt.models import RnnSeq2Seq, build_model
from nmt.runtime.device import SearchPrecision

CPU = torch.device("cpu")
VOCABULARY = 40
SHAPES: list[dict[str, Any]] = [
    {},
    {"layers": 3, "cell": "lstm", "readout": "plain"},
    {"query": "current", "layers": 2},
    {"query": "current", "input_feeding": True, "cell": "lstm"},
    {"query": "current", "input_feeding": True, "coverage": True, "layers": 2},
    {"coverage": True, "values": "projected"},
    {"attention": "dot", "bidirectional": False},
    {"attention": "scaled_dot", "bidirectional": False, "weighting": "local_monotonic", "window": 2},
    {"attention": "bilinear", "weighting": "local_predictive", "window": 2, "reverse_source": True},
    {"attention": "location", "weighting": "sparsemax"},
    {"attention": "multi_head", "heads": 2, "query": "current", "input_feeding": True},
    {"attention": "multi_head", "heads": 2, "weighting": "sparsemax"},
    {"weighting": "hard", "bridge": "zero"},
    {"weighting": "gumbel", "query": "current"},
    {"attention": "none", "layers": 2, "summary": "max_and_last"},
    {"attention": "none", "feed_summary": "first", "cell": "lstm", "reverse_source": True},
    {"attention": "none", "feed_summary": "state", "readout": "plain"},
]


def _model(changes: dict[str, Any], seed: int = 1, embedding: int = 32, hidden: int = 64) -> RnnSeq2Seq:
    torch.manual_seed(seed)
    config = RnnConfig.model_validate({"embedding": embedding, "hidden": hidden} | changes)
    model = build_model(config, VOCABULARY, VOCABULARY).eval()
    assert isinstance(model, RnnSeq2Seq)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5).add_(torch.randn_like(parameter) * 0.1)
    return model


def _sources(lengths: list[int], seed: int) -> tuple[Tensor, Tensor]:
    generator, counts = torch.Generator().manual_seed(seed), torch.tensor(lengths)
    source = torch.randint(4, VOCABULARY, (len(lengths), max(lengths)), generator=generator)
    return source.masked_fill(torch.arange(max(lengths)) >= counts[:, None], PAD), counts


def _rows(model: RnnSeq2Seq, precision: SearchPrecision) -> RnnByKernels:
    searched = fastest_decoder(for_inference(model, CPU, precision))
    assert isinstance(searched, RnnByKernels)
    return searched


@given(
    changes=st.sampled_from(SHAPES),
    widths=st.tuples(st.sampled_from([16, 48]), st.sampled_from([32, 64, 96])),
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    beam=st.integers(1, 5),
    seed=st.integers(0, 999),
)
@settings(max_examples=12, deadline=None)
def test_steps_are_those_of_double_precision(
    kernels: Kernels, changes: dict[str, Any], widths: tuple[int, int], lengths: list[int], beam: int, seed: int
) -> None:
    """Encoded states and log-probabilities, while hypotheses go on from any of their sentence and sentences leave."""
    assert kernels
    model = _model(changes, seed, *widths)
    source, counts = _sources(lengths, seed)
    fast, exact = _rows(model, "fp32"), for_inference(model.double(), CPU, "fp32")
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        memories = [searched.encode(source, counts) for searched in (exact, fast)]
        there = memories[0].mask[:, :, None]
        wanted, found = (memory.values.double().masked_fill(~there, 0) for memory in memories)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
        states: list[Any] = [exact.start(memories[0], 1), fast.start(memories[1], 1)]
        sentences, before = len(lengths), 1
        for position in range(5):
            tokens = torch.randint(4, VOCABULARY, (sentences * before,), generator=generator)
            (wanted, states[0]), (found, states[1]) = exact.step(states[0], tokens), fast.step(states[1], tokens)
            torch.testing.assert_close(found.double().log_softmax(1), wanted.log_softmax(1), rtol=0, atol=1e-4)
            left = torch.arange(sentences)[1 if position == 2 and sentences > 1 else 0 :]
            rows = left[:, None] * before + torch.randint(before, (len(left), beam), generator=generator)
            states = [exact.reorder(states[0], rows.flatten(), beam), fast.reorder(states[1], rows.flatten(), beam)]
            sentences, before = len(left), beam


@pytest.mark.parametrize(
    ("precision", "changes"),
    [("fp32", changes) for changes in SHAPES]
    + [(kind, changes) for kind in ("bf16", "int8") for changes in SHAPES[::4]],
    ids=str,
)
def test_a_row_is_the_same_for_any_batch_and_threads(
    kernels: Kernels, precision: SearchPrecision, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, the encoder included: logits of rows alone, beside others, shared among threads, of words kept or not."""
    assert kernels
    model = _model(changes)
    searched = _rows(model, precision)
    source, lengths = _sources([7, 3], 1)
    said = torch.tensor([[BOS, 4, 11, 12], [BOS, 4, 11, 13], [BOS, 20, 21, 22], [BOS, 30, 31, 32]])

    def logits(rows: RnnByKernels, own: slice, said: Tensor, beam: int, threads: int) -> Tensor:
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        width = int(lengths[own].max())
        state, found = rows.start(rows.encode(source[own, :width], lengths[own]), beam), []
        for tokens in said.T:
            out, state = rows.step(state, tokens)
            found.append(out)
        return torch.stack(found, 1)  # (R, T, V)

    with torch.inference_mode():
        together = logits(searched, slice(0, 2), said, 2, 1)
        assert torch.equal(logits(searched, slice(0, 2), said, 2, 3), together)
        for row in range(4):
            alone = logits(searched, slice(row // 2, row // 2 + 1), said[row : row + 1], 1, 1)
            assert torch.equal(alone[0], together[row])
        monkeypatch.setattr(recurrent_parts, "KEPT_WORDS", 0)
        assert torch.equal(logits(_rows(model, precision), slice(0, 2), said, 2, 1), together)


@pytest.mark.parametrize("changes", [{}, {"query": "current", "cell": "lstm"}, {"attention": "none"}], ids=str)
def test_search_finds_the_same_in_rows(kernels: Kernels, changes: dict[str, Any]) -> None:
    """All hypotheses of sentences of unlike length, of one model and of two that vote; scores within rounding."""
    assert kernels
    models = [for_inference(_model(changes, seed), CPU, "fp32") for seed in (1, 2)]
    source, lengths = _sources([9, 6, 1], 1)
    config = SearchConfig(beam=4, max_length_ratio=1.5, max_length_constant=3)
    both, plainly = Ensemble(models), Ensemble(models)
    plainly.searched[:] = models
    for fast, plain in ((fastest_decoder(models[0]), models[0]), (both, plainly)):
        found = [beam_search(model, source, lengths, config, 4) for model in (plain, fast)]
        for one, two in zip(*found, strict=True):
            assert [item.tokens for item in one] == [item.tokens for item in two]
            for left, right in zip(one, two, strict=True):
                assert math.isclose(left.log_probability, right.log_probability, abs_tol=1e-3)


def test_what_the_kernels_do_not_know_is_searched_without_them() -> None:
    """Widths that are no whole vectors, and double precision."""
    narrow = for_inference(_model({}, embedding=12, hidden=24), CPU, "fp32")
    heads = for_inference(_model({"attention": "multi_head", "heads": 8}), CPU, "fp32")
    for model in (narrow, heads, _model({}).double()):
        assert fastest_decoder(model) is model
