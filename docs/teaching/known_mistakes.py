"""The right answers to the exercise on attention, in NumPy, and those of mistakes that are often made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Answer = tuple[Array, ...]


@dataclass(frozen=True)
class Call:
    """One call of a function."""

    arguments: Sequence[Any]
    right: Answer
    names: Sequence[str] = ("result",)
    mistakes: Mapping[str, Answer] = field(default_factory=dict[str, Answer])
    """What each mistake would return, by what to say about it."""
    hint: str = ""

    def with_right(self, answer: Answer) -> Call:
        """The same call, where another answer counts as right."""
        return replace(self, right=answer)


@dataclass(frozen=True)
class Question:
    """One function of the exercise."""

    name: str
    calls: Sequence[Call]
    square: Call
    """A call with sizes that are alike, and its known mistakes."""
    needs: Sequence[str] = ()
    """Functions that it calls."""


def _random(*shape: int) -> Array:
    return np.random.default_rng(sum(shape) + len(shape)).normal(size=shape)


def softmax(scores: Array, axis: int = -1) -> Array:
    """Returns exp(scores) / sum of exp(scores), along an axis."""
    with np.errstate(invalid="ignore"):  # a row of minus infinity gives NaN, as in torch
        powers = np.exp(scores - scores.max(axis, keepdims=True))
        shares: Array = powers / powers.sum(axis, keepdims=True)
    return shares


def _dot(b: int, t: int, s: int, d: int) -> Call:
    query, keys = _random(b, t, d), _random(b, s, d) + 1
    right = np.einsum("btd,bsd->bts", query, keys)
    if not t == s == d:
        return Call((query, keys), (right,), ("scores",))
    mistakes = {
        "The keys are not transposed. Use keys.transpose(1, 2); `view` and `reshape` do not transpose.": query @ keys,
        "The result is (B, S, T): keys against queries. Let the queries come first.": right.transpose(0, 2, 1),
        "This is the scaled dot product. Here no scale is asked for; it comes in `multi_head`.": right / np.sqrt(d),
        "You multiplied number by number, and did not add up over the width.": query * keys,
    }
    return Call((query, keys), (right,), ("scores",), {text: (wrong,) for text, wrong in mistakes.items()})


def _additive(b: int, t: int, s: int, d: int) -> Call:
    query, keys, w, u, v = _random(b, t, d), _random(b, s, d) + 1, _random(4, d), _random(4, d) - 0.5, _random(4)

    def score(energy: Callable[[Array, Array], Array], w: Array = w, u: Array = u) -> Array:
        found: Array = energy((query @ w.T)[:, :, None], (keys @ u.T)[:, None]) @ v
        return found

    right = score(lambda q, k: np.tanh(q + k))
    if not t == s == d:
        return Call((query, keys, w, u, v), (right,), ("scores",))
    mistakes = {
        "The tanh is missing. Without it the query moves all scores of a row alike, and the softmax does not see it.": score(
            np.add
        ),
        "The tanh belongs around the sum, not around each part of it.": score(lambda q, k: np.tanh(q) + np.tanh(k)),
        "W and U are swapped: W is for the query, U for the keys.": score(lambda q, k: np.tanh(q + k), u, w),
        "The tanh comes before v: v . tanh(...), not tanh(v . ...).": np.tanh(score(np.add)),
    }
    mistakes["W and U are not transposed. `states @ W.T` is W applied to each state."] = score(
        lambda q, k: np.tanh(q + k), w.T, u.T
    )
    paired = np.tanh(query @ w.T + keys @ u.T) @ v
    mistakes["You paired query t with key t alone. Each query meets each key: use [:, :, None] and [:, None]."] = paired
    return Call((query, keys, w, u, v), (right,), ("scores",), {text: (wrong,) for text, wrong in mistakes.items()})


def _attend(b: int, t: int, s: int, d: int) -> Call:
    scores, values = _random(b, t, s), _random(b, s, d)
    mask = (np.arange(s) < np.arange(s - 1, s - 1 - b, -1)[:, None])[
        :, None
    ]  # (B, 1, S): one word is padding, two, ...
    hidden = np.where(mask, scores, -np.inf)
    right, names = softmax(hidden), ("weights", "contexts")
    if not t == s == d:
        return Call((scores, values, mask), (right, right @ values), names)
    weights = {
        "The softmax runs over the queries. The weights of one query over the source must sum to one: softmax(-1).": softmax(
            hidden, -2
        ),
        "The mask is the wrong way round. True is where a query may look; hide `~mask`.": softmax(
            np.where(mask, -np.inf, scores)
        ),
        "You masked after the softmax, so the weights do not sum to one. Mask the scores, then take the softmax.": softmax(
            scores
        )
        * mask,
        "Padding has the score 0, and exp(0) is 1: it still gets weight. Hidden scores must be minus infinity.": softmax(
            scores * mask
        ),
        "The mask is not used: padding gets weight.": softmax(scores),
        "The mask is added as numbers, so padding still gets weight. Hidden scores must be minus infinity.": softmax(
            scores + mask
        ),
    }
    mistakes: dict[str, Answer] = {text: (wrong, wrong @ values) for text, wrong in weights.items()}
    mistakes["Weights and contexts are swapped: return weights, contexts."] = (right @ values, right)
    turned = right.transpose(0, 2, 1) @ values
    mistakes["The weights are right, but turned before the product: a context is `weights @ values`."] = (right, turned)
    mistakes["The weights are right, but the contexts are sums by the scores: use `weights @ values`."] = (
        right,
        scores @ values,
    )
    return Call((scores, values, mask), (right, right @ values), names, mistakes)


def _attend_to_large_scores() -> Call:
    call = _attend(2, 3, 5, 4)
    scores, values, mask = call.arguments
    right = softmax(np.where(mask, 1000 * scores, -np.inf))
    hint = (
        "Scores of a thousand are too large for exp. Hide padding with minus infinity first, then use torch's softmax."
    )
    return Call((1000 * scores, values, mask), (right, right @ values), call.names, hint=hint)


def _causal(length: int) -> Call:
    everything = np.ones((1, length, length), bool)
    mistakes = {
        "The diagonal is hidden. Then the first position sees nothing, and its softmax is NaN.": np.tril(
            everything, -1
        ),
        "A leak: each position sees the next word, which it should predict.": np.tril(everything, 1),
        "This marks what is hidden. True is where a position may look: the lower triangle, `tril`.": np.triu(
            everything, 1
        ),
        "This is the upper triangle: positions see the future and not the past. Use `tril`.": np.triu(everything),
        "A leak: every position sees the whole sentence.": everything,
        "These are numbers to add to scores. Here a mask is a tensor of bool: dtype=torch.bool.": np.where(
            np.tril(everything), 0.0, -np.inf
        ),
        "The mask is right, but it lacks the first dimension: (1, T, T).": np.tril(everything)[0],
    }
    right = (np.tril(everything),)
    return Call((length,), right, ("mask",), {text: (wrong,) for text, wrong in mistakes.items()})


def _heads(b: int, t: int, s: int, d: int) -> Call:
    h = 2
    query, keys, values = 2 * _random(b, t, d), _random(b, s, d), _random(b, s, d) + 1
    mask = (np.arange(s) < np.arange(s - 1, s - 1 - b, -1)[:, None])[:, None]

    def split(states: Array) -> Array:
        return states.reshape(len(states), -1, h, d // h).swapaxes(1, 2)  # (B, H, S, D / H)

    def viewed(states: Array) -> Array:
        return states.reshape(len(states), h, -1, d // h)

    def look(scale: float, split: Callable[[Array], Array] = split, shown: Array = mask[:, None]) -> Array:
        scores = split(query) @ split(keys).swapaxes(2, 3) * scale
        heads: Array = softmax(np.where(shown, scores, -np.inf)) @ split(values)  # (B, H, T, D / H)
        return heads

    def join(heads: Array) -> Array:
        return heads.swapaxes(1, 2).reshape(len(heads), -1, d)

    per_head, per_model = (d // h) ** -0.5, d**-0.5
    one_head = softmax(np.where(mask, query @ keys.swapaxes(1, 2) * per_model, -np.inf)) @ values
    wrong_order = np.tile(mask, (h, 1, 1)).reshape(b, h, 1, s)
    mistakes = {
        "The scores are not divided by sqrt(D / H).": join(look(1.0)),
        "The scores are divided by sqrt(D). A head is D / H wide, so the scale is sqrt(D / H).": join(look(per_model)),
        "The scores are divided by D / H, without the square root.": join(look(h / d)),
        "The scores are divided by sqrt(H). A head is D / H wide, so the scale is sqrt(D / H).": join(look(h**-0.5)),
        "The mask is not used: padding gets weight.": join(look(per_head, shown=np.ones_like(mask[:, None]))),
        "There is one head alone: the width is not split.": one_head,
        "Your split mixes positions: after `view`, a head is not a part of the width. Use `split`.": join(
            look(per_head, viewed)
        ),
        "The heads are joined in the wrong order. Swap heads and positions first: use `join`.": look(per_head).reshape(
            b, t, d
        ),
        "The mask is repeated in the wrong order, so sentences see the mask of another. Use `mask_of_heads`.": join(
            look(per_head, shown=wrong_order)
        ),
    }
    right = (join(look(per_head)),)
    return Call(
        (query, keys, values, h, mask), right, ("contexts",), {text: (item,) for text, item in mistakes.items()}
    )


QUESTIONS = (
    Question("dot_scores", [_dot(2, 3, 5, 4)], _dot(2, 4, 4, 4)),
    Question("additive_scores", [_additive(2, 3, 5, 6)], _additive(2, 4, 4, 4)),
    Question("attend", [_attend(2, 3, 5, 4), _attend_to_large_scores()], _attend(2, 4, 4, 4)),
    Question("causal_mask", [_causal(3), _causal(1)], _causal(4)),
    Question("multi_head", [_heads(2, 3, 5, 8)], _heads(2, 4, 4, 8), needs=("dot_scores", "attend")),
)
