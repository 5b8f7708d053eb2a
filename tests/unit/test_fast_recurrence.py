"""The attending recurrence in few kernels is the loop of the attention decoder."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from nmt.config import RnnConfig
from nmt.fast.recurrence import Source, attending_recurrence
from nmt.models.recurrence import Carry, RnnMemory
from nmt.models.rnn import AttentionDecoder
from packs import error

SENTENCES, LONGEST, TIMES, HIDDEN, VALUES = 3, 35, 3, 12, 10


@pytest.mark.parametrize("score", ["additive", "scaled_dot"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.usefixtures("interpreter")
def test_kernels_equal_the_loop(cell: Literal["lstm", "gru"], score: Literal["additive", "scaled_dot"]) -> None:
    """Forward and backward in fp32 beside float64, with a source of one token and one beyond a block."""
    torch.manual_seed(9)
    decoder = AttentionDecoder(RnnConfig(hidden=HIDDEN, embedding=6, cell=cell), VALUES, score).double()
    lengths, keys_width = torch.tensor([35, 1, 7]), HIDDEN
    shapes = (SENTENCES, TIMES, 6), (SENTENCES, LONGEST, VALUES), (SENTENCES, LONGEST, keys_width)
    firsts = [(1, SENTENCES, HIDDEN)] * (2 if cell == "lstm" else 1)
    exact = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in (*shapes, *firsts)]
    embedded, values, keys, *first = exact
    mask = torch.arange(LONGEST) < lengths[:, None]
    wanted = decoder(embedded, RnnMemory(values[:, 0], values, keys, mask), Carry(tuple(first)))

    inputs = [part.detach().float().requires_grad_() for part in exact]
    copy = AttentionDecoder(RnnConfig(hidden=HIDDEN, embedding=6, cell=cell), VALUES, score)
    copy.load_state_dict(decoder.state_dict())
    additive = score == "additive"
    source = Source(
        inputs[2],
        inputs[1],
        lengths,
        copy.score.combine.weight[0] if additive else None,
        1.0 if additive else HIDDEN**-0.5,
    )
    found = attending_recurrence(
        copy.input(inputs[0]).transpose(0, 1).contiguous(),
        tuple(part[0] for part in inputs[3:]),
        source,
        (copy.recurrent.weight, copy.recurrent.bias),
        copy.context.weight,
        copy.score.query.weight if additive else None,
    )
    pairs = [(found.states.transpose(0, 1), wanted.states), (found.contexts.transpose(0, 1), wanted.contexts)]
    pairs += [(one, other[0]) for one, other in zip(found.last, wanted.carry.hidden, strict=True)]
    assert error(found.weights.transpose(0, 1), torch.cat(list(wanted.weights), 1)) < 1e-5
    factors = [torch.randn(one.shape, dtype=torch.float64) for one, _ in pairs]
    assert max(error(one, other) for one, other in pairs) < 1e-5
    names = [name for name, _ in decoder.named_parameters()]
    mine = torch.autograd.grad(
        sum((one * factor).sum() for (one, _), factor in zip(pairs, factors, strict=True)),
        [*inputs, *(copy.get_parameter(name) for name in names)],
        allow_unused=True,
    )
    reference = torch.autograd.grad(
        sum((other * factor).sum() for (_, other), factor in zip(pairs, factors, strict=True)),
        [*exact, *(decoder.get_parameter(name) for name in names)],
        allow_unused=True,
    )
    for one, other in zip(mine, reference, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert error(one, other) < 1e-5
