"""Each form of attention equals its paper's formula, written out in loops in float64, and shows what the theory says."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from nmt.config.model import RnnConfig, TransformerConfig
from nmt.errors import ConfigError
from nmt.models import build_model
from nmt.models.rnn.scores import CoverageScore, LocationScore, MultiHeadScore
from nmt.models.rnn.weighting import Gumbel, Hard, LocalMonotonic, LocalPredictive, Place, Softmax, Sparsemax
from nmt.models.transformer.attention import SelfAttention, attention_weights
from nmt.models.transformer.positions import Rotary, distance_bias
from nmt.training.loss import rewarded, smoothed_cross_entropy
from tiny import VOCABULARY, make_batch, make_model, make_recipe

LENGTHS = (7, 4)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _place(count: int = 5) -> tuple[Tensor, Place]:
    """Scores (2, T, 7), -inf at padding, and where they were taken."""
    mask = torch.arange(7) < torch.tensor(LENGTHS)[:, None]
    scores = _random(2, count, 7, seed=3).masked_fill(~mask[:, None], -torch.inf)
    return scores, Place(_random(2, count, 6), mask, torch.arange(count))


def test_coverage_is_the_formula() -> None:
    """See et al. 2017, equation 11; without any attention so far it is the additive score."""
    score = CoverageScore(6, 6, 5).double()
    query, values, covered = _random(1, 2, 6), _random(1, 3, 6, seed=1), _random(1, 2, 3, seed=2).abs()
    keys, weights = score.keys(values), dict(score.named_parameters())
    result = score.covered(query, keys, covered)
    for t, s in itertools.product(range(2), range(3)):
        inner = weights["query.weight"] @ query[0, t] + keys[0, s] + weights["coverage.weight"][:, 0] * covered[0, t, s]
        torch.testing.assert_close(result[0, t, s], weights["combine.weight"][0] @ torch.tanh(inner))
    torch.testing.assert_close(score.covered(query, keys, torch.zeros_like(covered)), score(query, keys))


def test_location_does_not_read_the_source() -> None:
    """Luong et al. 2015, equation 8: a product of the state; positions beyond the last share its score."""
    score = LocationScore(6).double()
    query = _random(1, 2, 6)
    result = score(query, _random(1, LocationScore.positions + 3, 6))
    expected = query @ score.places.weight.t()
    torch.testing.assert_close(result[..., : LocationScore.positions], expected)
    torch.testing.assert_close(result[..., -3:], expected[..., -1:].expand(-1, -1, 3))


def test_multi_head_scores_are_the_formula() -> None:
    """Vaswani et al. 2017, section 3.2.2, head by head."""
    score = MultiHeadScore(6, 4, heads=3).double()
    query, values = _random(2, 3, 6), _random(2, 5, 4, seed=1)
    result = score(query, score.keys(values)).unflatten(0, (2, 3))  # (B, H, T, S)
    for b, h, t, s in itertools.product(range(2), range(3), range(3), range(5)):
        part = slice(2 * h, 2 * h + 2)
        left, right = score.query.weight[part] @ query[b, t], score.keys.weight[part] @ values[b, s]
        torch.testing.assert_close(result[b, h, t, s], left @ right / math.sqrt(2))


def test_sparsemax_is_the_nearest_point_of_the_simplex() -> None:
    """Against its definition: the threshold found by bisection; some weights are exactly zero, padding always."""
    scores, place = _place()
    weights = Sparsemax()(scores, place).values
    for b, length in enumerate(LENGTHS):
        for t in range(5):
            row = scores[b, t, :length]
            low, high = float(row.min()) - 1, float(row.max())
            for _ in range(200):
                middle = (low + high) / 2
                low, high = (middle, high) if float((row - middle).clamp(min=0).sum()) > 1 else (low, middle)
            torch.testing.assert_close(weights[b, t, :length], (row - low).clamp(min=0))
            assert (weights[b, t, length:] == 0).all()
    assert (weights[0] == 0).any()


def test_sparsemax_has_its_gradient() -> None:
    """By finite differences, padding left out."""
    scores = _random(1, 2, 5).requires_grad_()
    place = Place(_random(1, 2, 6), torch.ones(1, 5, dtype=torch.bool), torch.arange(2))
    assert torch.autograd.gradcheck(lambda x: Sparsemax()(x, place).values, (scores,))


def test_local_monotonic_is_a_softmax_in_a_window() -> None:
    """Luong et al. 2015, local-m: around the target position, and around the last word beyond the end of the source."""
    scores, place = _place()
    weights = LocalMonotonic(1)(scores, place).values
    for b, t in itertools.product(range(2), range(5)):
        centre = min(t, LENGTHS[b] - 1)
        seen = [s for s in range(LENGTHS[b]) if abs(s - centre) <= 1]
        expected = torch.zeros(7, dtype=torch.float64)
        expected[seen] = scores[b, t, seen].softmax(-1)
        torch.testing.assert_close(weights[b, t], expected)


def test_local_predictive_is_the_formula() -> None:
    """Luong et al. 2015, equations 9 and 10."""
    scores, place = _place()
    weighting = LocalPredictive(6, 2).double()
    weighting.requires_grad_(False)
    weights = weighting(scores, place).values
    for b, t in itertools.product(range(2), range(5)):
        inner = torch.tanh(weighting.inner.weight @ place.query[b, t])
        centre = float((LENGTHS[b] - 1) * torch.sigmoid(weighting.outer.weight[0] @ inner))
        seen = [s for s in range(LENGTHS[b]) if abs(s - centre) <= 2]
        expected = torch.zeros(7, dtype=torch.float64)
        gauss = [math.exp(-((s - centre) ** 2) / (2 * 1.0**2)) for s in seen]  # a standard deviation of D / 2
        expected[seen] = scores[b, t, seen].softmax(-1) * torch.tensor(gauss, dtype=torch.float64)
        torch.testing.assert_close(weights[b, t], expected)


def test_scores_that_are_not_finite_are_no_error() -> None:
    """They reach the loss, so that the update is skipped; other rows are as ever."""
    scores = torch.tensor([[[0.5, 0.2], [torch.nan, 0.0]]])
    place = Place(torch.zeros(1, 2, 1), torch.ones(1, 2, dtype=torch.bool), torch.arange(2))
    sparse = Sparsemax()(scores, place).values
    assert torch.equal(sparse[:, :1], Sparsemax()(scores[:, :1], place).values)
    assert sparse[0, 1].isnan().any()
    drawn = Hard().train()(scores, place).drawn
    assert drawn is not None
    assert drawn.isnan().tolist() == [[False, True]]
    assert Sparsemax()(torch.tensor([[[3e7, 0.0]]]), place).values.isfinite().all()


@pytest.mark.parametrize("kind", [Hard, Gumbel])
def test_hard_attention_sees_one_position(kind: type[Hard | Gumbel]) -> None:
    """The most probable one when it translates; while training each as often as its probability says, padding never."""
    torch.manual_seed(0)
    scores, place = _place()
    weights = kind().eval()(scores, place).values
    assert torch.equal(weights.argmax(-1), scores.argmax(-1))
    assert torch.equal(weights.sum(-1), torch.ones(2, 5, dtype=torch.float64))
    drawn = torch.stack([kind().train()(scores, place).values for _ in range(4000)])
    assert torch.equal(drawn.detach().round(), drawn.detach().round().clamp(0, 1))
    torch.testing.assert_close(drawn.mean(0), scores.softmax(-1), atol=0.04, rtol=0)


def test_a_straight_through_draw_has_the_gradient_of_its_softmax() -> None:
    """Jang et al. 2017, section 2.2: forward one position, backward the relaxed one."""
    scores, place = _place()
    scores = scores[:1].requires_grad_()
    place = Place(place.query[:1], place.mask[:1], place.positions)
    target = _random(1, 5, 7, seed=9)
    torch.manual_seed(4)
    (Gumbel()(scores, place).values * target).sum().backward()
    torch.manual_seed(4)
    noise = -torch.empty_like(scores, dtype=torch.float32).exponential_().log()
    soft = (scores + noise).softmax(-1)
    torch.testing.assert_close(scores.grad, torch.autograd.grad((soft * target).sum(), scores)[0])


def test_reward_gives_the_gradient_of_the_expected_loss() -> None:
    """REINFORCE: averaged over the draws, the gradient by the scores is that of the exact expectation of the loss.

    (A batch of many like tokens, so that its mean, the baseline, hardly depends on one draw.)
    """
    torch.manual_seed(0)
    scores = _random(1, 1, 4).requires_grad_()
    states, output = _random(4, 6, seed=1), torch.nn.Linear(6, 9).double()
    place = Place(_random(1, 1, 6), torch.ones(1, 4, dtype=torch.bool), torch.arange(1))
    target = torch.tensor([[5]])
    losses = torch.stack([smoothed_cross_entropy(state[None, None], output, target, 0.0).total for state in states])
    (exact,) = torch.autograd.grad((Softmax()(scores, place).values[0, 0] * losses.detach()).sum(), scores)
    count = 40_000
    many = Place(place.query.expand(-1, count, -1), place.mask, torch.zeros(1, dtype=torch.int64))
    weights = Hard().train()(scores.expand(-1, count, -1), many)
    assert weights.drawn is not None
    loss = smoothed_cross_entropy(weights.values @ states, output, target.expand(-1, count), 0.0)
    total = rewarded(loss, weights.drawn.flatten()).total
    torch.testing.assert_close(total, loss.total)
    (drawn,) = torch.autograd.grad(total, scores)
    torch.testing.assert_close(drawn / count, exact, atol=0.02, rtol=0.1)


def test_rotary_positions_are_rotations() -> None:
    """Su et al. 2021: numbers as complex pairs, turned; a product of two depends on their distance alone."""
    rotary, states = Rotary(6), _random(1, 5, 6)
    turned = rotary(states, 3, together=False)
    pairs, result = torch.complex(states[0, :, :3], states[0, :, 3:]), torch.complex(turned[0, :, :3], turned[0, :, 3:])
    for t, i in itertools.product(range(5), range(3)):
        angle = torch.tensor((3 + t) * 10000 ** (-2 * i / 6), dtype=torch.float64)
        torch.testing.assert_close(result[t, i], pairs[t, i] * torch.complex(angle.cos(), angle.sin()))
    query, key = _random(1, 1, 6), _random(1, 1, 6, seed=1)
    products = [
        (rotary(query, first + 4, together=True) * rotary(key, first, together=True)).sum() for first in (0, 90)
    ]
    torch.testing.assert_close(products[0], products[1])


def test_distance_is_a_penalty() -> None:
    """Press et al. 2022, section 3: slopes 1/2^1, ..., 1/2^8 for eight heads."""
    bias = distance_bias(torch.tensor([4]), torch.arange(7), 8)
    expected = [[-(2.0**-head) * abs(4 - place) for place in range(7)] for head in range(1, 9)]
    torch.testing.assert_close(bias[:, 0], torch.tensor(expected, dtype=torch.float64))


def test_without_positions_the_encoder_does_not_know_the_order() -> None:
    """Permuting the words permutes the states, and nothing else; with positions it does more."""
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for name, equal in (("transformer-none", True), ("transformer", False), ("transformer-rotary", False)):
        model = make_model(name)
        source, lengths = make_batch([6])
        plain, turned = (model.encode(words, lengths).states for words in (source, source[:, order]))
        assert torch.allclose(plain[:, order], turned, rtol=1e-9, atol=1e-12) == equal


@pytest.mark.parametrize("name", ["transformer", "transformer-rotary", "transformer-alibi", "transformer-learned"])
def test_no_gradient_comes_from_the_future(name: str) -> None:
    """Exactly zero by the embedding of each later word."""
    model = make_model(name)
    source, lengths = make_batch([5])
    target = torch.tensor([[2, 4, 5, 6, 7, 8]])
    found: list[Tensor] = []

    def watch(_module: torch.nn.Module, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        found.append(output)

    handle = dict(model.named_modules())["target_embedding"].register_forward_hook(watch)
    model(source, lengths, target)[0, 2].square().sum().backward()
    handle.remove()
    (embedded,) = found
    assert embedded.grad is not None
    assert (embedded.grad[0, 3:] == 0).all()
    assert (embedded.grad[0, :3] != 0).any(1).all()


def test_without_scaling_the_softmax_saturates_as_width_grows() -> None:
    """Vaswani et al. 2017, section 3.2.1: scores of variance K push the softmax to where its gradients are small."""
    slopes: dict[bool, list[float]] = {True: [], False: []}
    for scaled, width in itertools.product((True, False), (16, 256, 4096)):
        attention = SelfAttention(width, 1, scaled=scaled).double()
        query = attention.scaled_query(_random(1, 200, width, seed=width))
        weights = attention_weights(query, _random(1, 40, width, seed=1), None, causal=False)
        slopes[scaled].append(float((weights * (1 - weights)).sum(-1).mean()))  # of a weight by its own score
    assert slopes[False][0] > 2 * slopes[False][1] > 4 * slopes[False][2]
    assert max(slopes[True]) < 1.05 * min(slopes[True])


def test_refusals_name_the_switch_and_the_remedy() -> None:
    """What cannot go together is refused before anything runs."""
    for section, message in (
        ({"attention": "dot"}, "use attention = 'bilinear' or bidirectional = false"),
        ({"attention": "multi_head", "weighting": "hard"}, "use softmax or sparsemax"),
        ({"attention": "multi_head", "heads": 3}, "heads must divide hidden"),
        ({"attention": "bilinear", "coverage": True}, "coverage is a part of additive attention"),
        ({"input_feeding": True}, "input_feeding needs query = 'current'"),
        ({"attention": "none", "query": "current"}, "query is a switch of attention, and attention = 'none'"),
        ({"attention": "none", "coverage": True}, "coverage is a part of additive attention, got attention = 'none'"),
    ):
        with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
            make_recipe({"kind": "rnn", **section})
    with pytest.raises(ConfigError, match="another path in each"):
        make_recipe({"kind": "rnn", "weighting": "hard"}, training={"r_drop": 1.0})
    with pytest.raises(ConfigError, match="rotary positions need heads of an even width, got 3"):
        make_recipe({"kind": "transformer", "width": 12, "heads": 4, "positions": "rotary"})


@pytest.mark.thorough
def test_post_norm_needs_its_warm_up() -> None:
    """At a high rate from the first update on, deep post-norm Transformers get nowhere, deep pre-norm ones learn.

    Xiong et al. 2020, section 3: the gradients of the last post-norm layers are large at the start.
    """
    losses: dict[str, float] = {}
    for norm in ("pre", "post"):
        torch.manual_seed(1)
        config = TransformerConfig(
            width=32, feed_forward=64, heads=2, encoder_layers=6, decoder_layers=6, norm=norm, dropout=0.0
        )
        model = build_model(config, VOCABULARY, VOCABULARY)
        optimizer, loss = torch.optim.Adam(model.parameters(), lr=3e-3), torch.zeros(())
        for step in range(120):
            source, lengths = make_batch([6] * 32, seed=step)
            target = torch.cat([torch.full((32, 1), 1), source[:, :-1]], 1)  # says the source again
            loss = smoothed_cross_entropy(model(source, lengths, target), model.output, source, 0.0).total / 192
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        losses[norm] = float(loss.detach())
    assert losses["pre"] < 0.8 * losses["post"]


def test_state_of_luong_runs_at_once_and_step_by_step() -> None:
    """Without input feeding all positions are one call, with it a loop: of a matrix of zeros the loop is the call."""
    fed = RnnConfig(embedding=12, hidden=10, query="current", input_feeding=True)
    plain = build_model(fed.model_copy(update={"input_feeding": False}), VOCABULARY, VOCABULARY).double()
    model = build_model(fed, VOCABULARY, VOCABULARY).double()
    weights = dict(plain.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "decoder.rnn.weight_ih_l0":
                parameter.copy_(torch.nn.functional.pad(weights[name], (0, 10)))
            elif name in weights:
                parameter.copy_(weights[name])
    source, lengths = make_batch([6, 3])
    target = make_batch([5, 5], seed=2)[0]
    torch.testing.assert_close(model.eval()(source, lengths, target), plain.eval()(source, lengths, target))
