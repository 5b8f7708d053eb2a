"""The attention decoder in few kernels for each position is its loop."""

# pyright: reportCallIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false
# Inputs are lists, of which a call takes as many as it has, and every one of them has a gradient.

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from nmt.config.model import RnnConfig
from nmt.fast.gpu import attending
from nmt.models.rnn.decoder import AttentionDecoder
from nmt.models.rnn.state import Carry, Decoded, RnnMemory
from packs import error

SENTENCES, LONGEST, TIMES, HIDDEN, VALUES = 3, 35, 3, 12, 10


def _decoder(
    cell: Literal["lstm", "gru"], score: Literal["additive", "bilinear"], dtype: torch.dtype
) -> AttentionDecoder:
    torch.manual_seed(9)
    config = RnnConfig(hidden=HIDDEN, embedding=6, cell=cell, layers=2, dropout=0.0)
    decoder = AttentionDecoder(config, VALUES, score).to(dtype)
    attending.attend_by_kernels(decoder)
    return decoder


def _run(decoder: AttentionDecoder, embedded: Tensor, values: Tensor, first: list[Tensor]) -> Decoded:
    """With a source of one token and one beyond a block."""
    mask = torch.arange(LONGEST) < torch.tensor([35, 1, 7])[:, None]
    memory = RnnMemory(values[:, 0], values, decoder.keys(values), mask)
    return decoder(embedded, memory, Carry(tuple(first)))


def _gradients(decoder: nn.Module, decoded: Decoded, inputs: list[Tensor]) -> tuple[Tensor | None, ...]:
    """Of all that comes out, by all that went in."""
    outs = [decoded.states, decoded.contexts, *decoded.carry.hidden]
    torch.manual_seed(3)
    total = sum((out * torch.randn(out.shape, dtype=torch.float64).to(out)).sum() for out in outs)
    return torch.autograd.grad(total, [*inputs, *decoder.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize("score", ["additive", "bilinear"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.usefixtures("interpreter")
def test_kernels_equal_the_loop(
    monkeypatch: pytest.MonkeyPatch, cell: Literal["lstm", "gru"], score: Literal["additive", "bilinear"]
) -> None:
    """Forward and backward in fp32 beside float64."""
    decoder = _decoder(cell, score, torch.float64)
    shapes = [(SENTENCES, TIMES, 6), (SENTENCES, LONGEST, VALUES)]
    shapes += [(2, SENTENCES, HIDDEN)] * (2 if cell == "lstm" else 1)
    exact = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    wanted = _run(decoder, exact[0], exact[1], exact[2:])
    reference = _gradients(decoder, wanted, exact)

    monkeypatch.setattr(attending, "usable", lambda _: True)
    inputs = [part.detach().float().requires_grad_() for part in exact]
    decoder = _decoder(cell, score, torch.float32)
    found = _run(decoder, inputs[0], inputs[1], inputs[2:])
    pairs = [(found.states, wanted.states), (found.contexts, wanted.contexts)]
    pairs += list(zip(found.carry.hidden, wanted.carry.hidden, strict=True))
    pairs += [(torch.cat(list(found.weights)), torch.cat(list(wanted.weights)))]
    assert max(error(one, other) for one, other in pairs) < 1e-5
    assert max(map(error, _gradients(decoder, found, inputs), reference)) < 1e-5


@pytest.mark.usefixtures("interpreter")
def test_a_beam_looks_at_the_source_of_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that share a sentence, as in search: by the kernels what the loop finds."""
    monkeypatch.setattr(attending, "usable", lambda _: True)
    decoder = _decoder("gru", "additive", torch.float32)
    embedded, values = torch.randn(2 * SENTENCES, 1, 6), torch.randn(SENTENCES, LONGEST, VALUES)
    first = [torch.randn(2, 2 * SENTENCES, HIDDEN)]
    wanted = _run(decoder, embedded, values, first)  # a beam has no way back, so this is the loop
    with torch.inference_mode():
        found = _run(decoder, embedded, values, first)
    assert error(found.states, wanted.states) < 1e-5
    assert error(found.weights[0], wanted.weights[0]) < 1e-5
