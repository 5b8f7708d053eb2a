"""Attention equals torch's own, and each score function the formula of its paper, in float64."""

from __future__ import annotations

import math

import pytest
import torch

from nmt.errors import ConfigError
from nmt.models.rnn.scores import make_score
from nmt.models.transformer.attention import (
    CrossAttention,
    KeyValue,
    SelfAttention,
    dot_product_attention,
    mask_bias,
)
from nmt.models.transformer.positions import sinusoids
from tiny import FAMILIES, VISUAL, make_batch, make_model


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_attention_equals_torch(causal: bool) -> None:
    """The same weights, masks and inputs give torch.nn.MultiheadAttention's output and gradients."""
    ours, theirs = SelfAttention(12, 3).double(), torch.nn.MultiheadAttention(12, 3, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.projection.weight)
        theirs.in_proj_bias.copy_(ours.projection.bias)
        theirs.out_proj.weight.copy_(ours.output.weight)
        theirs.out_proj.bias.copy_(ours.output.bias)
    states = _random(2, 5, 12).requires_grad_()
    seen = torch.tensor([[True] * 5, [True, True, True, False, False]])
    future = torch.ones(5, 5, dtype=torch.bool).triu(1) if causal else None
    query, memory = ours.project(states)
    result = ours(query, memory, None if causal else mask_bias(seen[:, None], 3, torch.float64), causal)
    expected, _ = theirs(
        states, states, states, key_padding_mask=None if causal else ~seen, attn_mask=future, need_weights=False
    )
    torch.testing.assert_close(result, expected)
    gradients = [torch.autograd.grad(value.sum(), states, retain_graph=True)[0] for value in (result, expected)]
    torch.testing.assert_close(*gradients)


def test_attention_to_another_sequence_equals_torch() -> None:
    """Queries of one, keys and values of the other."""
    ours, theirs = CrossAttention(12, 3).double(), torch.nn.MultiheadAttention(12, 3, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.memory.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.memory.bias]))
        theirs.out_proj.weight.copy_(ours.output.weight)
        theirs.out_proj.bias.copy_(ours.output.bias)
    states, memory = _random(2, 4, 12), _random(2, 6, 12, seed=1)
    result = ours(ours.project_query(states), ours.project_memory(memory))
    torch.testing.assert_close(result, theirs(states, memory, memory, need_weights=False)[0])


def test_attend_equals_the_fused_kernel() -> None:
    """Our causal dot-product attention agrees with torch's fused implementation."""
    query, key, value = (_random(6, 4, 6, seed=seed) for seed in range(3))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(
        dot_product_attention(query, KeyValue(key, value), None, causal=True, dropout=0.0, heads=3), expected
    )


def test_a_masked_position_has_no_gradient_to_the_future() -> None:
    """Exactly zero: nothing leaks from later positions."""
    attention = SelfAttention(8, 2).double()
    states = _random(1, 5, 8).requires_grad_()
    attention(*attention.project(states), causal=True)[0, 2].sum().backward()
    assert states.grad is not None
    assert (states.grad[0, 3:] == 0).all()
    assert (states.grad[0, :3] != 0).all()


@pytest.mark.parametrize("name", ["additive", "dot", "scaled_dot", "bilinear"])
def test_scores_equal_their_formulas(name: str) -> None:
    """Written out in loops: Bahdanau et al. 2015, A.1.2; Luong et al. 2015, 3.1; Vaswani et al. 2017, equation 1."""
    score = make_score(name, 6, 6).double()  # type: ignore[arg-type]
    query, values = _random(2, 3, 6), _random(2, 4, 6, seed=1)
    result = score(query, score.keys(values))
    weights = dict(score.named_parameters())
    for b in range(2):
        for t in range(3):
            for s in range(4):
                q, h = query[b, t], values[b, s]
                expected = {
                    "additive": lambda q=q, h=h: (
                        weights["combine.weight"][0]
                        @ torch.tanh(weights["query.weight"] @ q + weights["keys.weight"] @ h + weights["keys.bias"])
                    ),
                    "dot": lambda q=q, h=h: q @ h,
                    "scaled_dot": lambda q=q, h=h: q @ h / math.sqrt(6),
                    "bilinear": lambda q=q, h=h: q @ weights["keys.weight"] @ h,
                }[name]()
                torch.testing.assert_close(result[b, t, s], expected)


def test_sinusoids_are_those_of_the_paper() -> None:
    """Section 3.5."""
    table = sinusoids(10, 8)
    assert table[3, 4].item() == pytest.approx(math.sin(3 / 10000 ** (4 / 8)))
    assert table[3, 5].item() == pytest.approx(math.cos(3 / 10000 ** (4 / 8)))


@pytest.mark.parametrize("name", FAMILIES | VISUAL)
def test_a_configuration_tells_whether_its_model_attends(name: str) -> None:
    """It says so exactly if the model has maps to show."""
    source, lengths = make_batch([3])
    try:
        shown = bool(make_model(name).attention_maps(source, lengths, source).shape[1])
    except ConfigError:
        shown = False
    assert (FAMILIES | VISUAL)[name].attends == shown
