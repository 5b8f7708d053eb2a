"""Attention between packed rows is that of each sentence on its own; the kernel gives what plain torch gives."""

# pyright: reportCallIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false
# Inputs are lists, of which a call takes as many as it has, and every one of them has a gradient.

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nmt.fast.gpu.attention import packed_attention, rotation
from nmt.fast.gpu.dropout import kept
from nmt.models.transformer.attention import attention_weights
from nmt.models.transformer.positions import Rotary, distance_bias
from packs import error, spans

HEADS, WIDTH = 2, 16  # of a head


def _sentences(
    queries: Tensor, keys: Tensor, values: Tensor, rows: list[int], columns: list[int]
) -> list[list[Tensor]]:
    """Queries, keys and values of each sentence, (H, T, K) each."""
    parts = [
        part[: sum(counts)].split(counts) for part, counts in ((queries, rows), (keys, columns), (values, columns))
    ]
    return [[part.unflatten(1, (HEADS, -1)).transpose(0, 1) for part in one] for one in zip(*parts, strict=True)]


def _inputs(rows: list[int], columns: list[int], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(3)
    counts = (sum(rows) + 5, sum(columns) + 5, sum(columns) + 5)
    return [torch.randn(count, HEADS * WIDTH, dtype=dtype).requires_grad_() for count in counts]


@pytest.mark.parametrize("positions", ["none", "rotary", "alibi"])
@pytest.mark.parametrize("causal", [False, True])
def test_packed_rows_attend_as_sentences_do(positions: str, causal: bool) -> None:
    """In float64, with positions as the padded model has them; empty rows give zeros."""
    lengths = [3, 1, 7]
    inputs = _inputs(lengths, lengths)
    starts, counts, *_ = spans(lengths, lengths)
    places = torch.arange(len(starts)) - starts
    slopes = 2 ** (-8 * torch.arange(1, HEADS + 1, dtype=torch.float64) / HEADS)
    found = packed_attention(
        torch.cat(inputs, 1),
        None,
        None,
        starts,
        counts,
        heads=HEADS,
        causal=causal,
        slopes=slopes if positions == "alibi" else None,
        rotary=rotation(places, WIDTH, torch.float64) if positions == "rotary" else None,
    )
    rotary = Rotary(WIDTH)
    for (query, key, value), context in zip(
        _sentences(*inputs, lengths, lengths), found.split([*lengths, 5]), strict=False
    ):
        if positions == "rotary":
            query, key = rotary(query, 0, False), rotary(key, 0, False)  # noqa: PLW2901
        here, bias = torch.arange(query.shape[1]), None
        if positions == "alibi":
            bias = distance_bias(here, here, HEADS)
            bias = bias + torch.full_like(bias, -torch.inf).triu(1) if causal else bias
        weights = attention_weights(query, key, bias, causal and bias is None)
        torch.testing.assert_close(context, (weights @ value).transpose(0, 1).flatten(1))
    assert not found[-5:].any()


def test_packed_rows_attend_to_their_source() -> None:
    """Targets and sources of different lengths, a source without a target among them."""
    rows, columns = [3, 1, 0, 4], [2, 5, 3, 1]
    inputs = _inputs(rows, columns)
    found = packed_attention(*inputs, *spans(rows, columns), heads=HEADS, scaling=0.5)
    for (query, key, value), context in zip(_sentences(*inputs, rows, columns), found.split([*rows, 5]), strict=False):
        weights = (query @ key.transpose(1, 2) * 0.5).softmax(-1)
        torch.testing.assert_close(context, (weights @ value).transpose(0, 1).flatten(1))


def test_dropout_of_packed_attention_is_the_seeds() -> None:
    """The same seed drops the same weights, another others; their mean stays."""
    inputs, rows = _inputs([40] * 4, [40] * 4), spans([40] * 4, [40] * 4)
    first, again, other, none = (
        packed_attention(*inputs, *rows, heads=HEADS, dropout=0.3, seed=seed)
        for seed in (torch.tensor([5]), torch.tensor([5]), torch.tensor([6]), None)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    ones = torch.ones_like(inputs[2])
    means = packed_attention(*inputs[:2], ones, *rows, heads=HEADS, dropout=0.3, seed=torch.tensor([5]))
    assert means[:-5].mean().item() == pytest.approx(1.0, abs=0.02)
    assert not torch.equal(first, none)


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_masks_are_random(probability: float) -> None:
    """The share that is dropped is the probability; neighbours in place and in seed know nothing of each other."""
    places = torch.arange(200_000)
    masks = [kept(torch.tensor([seed]), places, probability).double() for seed in (1, 2, 2**40 + 1)]
    deviation = (probability * (1 - probability)) ** 0.5
    for mask in masks:
        assert abs(mask.mean().item() - (1 - probability)) < 4 * deviation / len(places) ** 0.5
    centred = [mask - mask.mean() for mask in masks]
    pairs = [(centred[0], centred[1]), (centred[0], centred[2])]
    pairs += [(centred[0][:-shift], centred[0][shift:]) for shift in (1, 2, 64, 1024)]
    for one, two in pairs:
        assert abs((one * two).mean().item()) < 5 * deviation**2 / len(one) ** 0.5


@pytest.mark.parametrize(
    ("rows", "columns", "causal", "dropout", "alibi"),
    [
        ([9, 1, 26], [9, 1, 26], False, 0.0, False),
        ([9, 1, 26], [9, 1, 26], True, 0.2, True),
        ([1, 0, 33], [5, 2, 31], False, 0.2, False),
        pytest.param([200], [200], False, 0.1, False, marks=pytest.mark.slow),
    ],
    ids=["encoder", "decoder", "source", "long"],
)
@pytest.mark.usefixtures("interpreter")
def test_kernel_equals_plain_attention(
    rows: list[int], columns: list[int], causal: bool, dropout: float, alibi: bool
) -> None:
    """Forward and backward in fp32 beside float64, with empty rows and several sentences to a tile."""
    from nmt.fast.triton.attention import attention

    exact = _inputs(rows, columns)
    inputs = [part.detach().float().requires_grad_() for part in exact]
    places, seed = spans(rows, columns), torch.tensor([77])
    slopes = torch.tensor([0.5, 0.1]) if alibi else None
    found = attention(*inputs, *places, slopes, seed, HEADS, causal, dropout, 0.3)[0]
    options = {"causal": causal, "dropout": dropout, "seed": seed, "slopes": slopes}
    wanted = packed_attention(*exact, *places, heads=HEADS, scaling=0.3, **options)
    gradient = torch.randn_like(wanted)
    found.backward(gradient.float())
    wanted.backward(gradient)
    assert not found[sum(rows) :].any()
    assert error(found, wanted) < 1e-5
    for mine, reference in zip(inputs, exact, strict=True):
        assert error(mine.grad, reference.grad) < 1e-5


@pytest.mark.usefixtures("interpreter")
def test_rows_may_be_farther_apart_than_32_bits_count() -> None:
    """As those of many tokens and wide projections are. The memory between these is never touched."""
    from nmt.fast.triton.attention import attention

    inputs, places = [part.detach().bfloat16()[:5] for part in _inputs([5], [5])], spans([5], [5])
    places = [part[:5] for part in places]
    memory = torch.empty(2**31 + HEADS * WIDTH, dtype=torch.bfloat16)
    far = memory.as_strided(inputs[0].shape, (2**29, 1))  # the last row begins where 31 bits end
    far.copy_(inputs[0])
    options = (None, None, HEADS, True, 0.0, 0.25)
    assert torch.equal(attention(far, *inputs[1:], *places, *options)[0], attention(*inputs, *places, *options)[0])
    far.copy_(inputs[1])
    assert torch.equal(
        attention(inputs[0], far, inputs[2], *places, *options)[0], attention(*inputs, *places, *options)[0]
    )


@pytest.mark.usefixtures("interpreter")
def test_kernel_takes_one_projection() -> None:
    """Queries, keys and values in one tensor have one gradient, which is those of the three."""
    from nmt.fast.triton.attention import attention

    lengths = [4, 3]
    inputs, places = _inputs(lengths, lengths, torch.float32), spans(lengths, lengths)
    joint = torch.cat(inputs, 1).detach().requires_grad_()
    options = (None, None, HEADS, True, 0.0, 0.25)
    apart, together = attention(*inputs, *places, *options)[0], attention(joint, None, None, *places, *options)[0]
    gradient = torch.randn_like(apart)
    apart.backward(gradient)
    together.backward(gradient)
    assert torch.equal(apart, together)
    assert torch.equal(joint.grad, torch.cat([part.grad for part in inputs], 1))
