"""The solution of `attention_exercise.py`."""

import torch
from torch import Tensor


def dot_scores(query: Tensor, keys: Tensor) -> Tensor:
    """e_ts = q_t . k_s: scores (B, T, S) of queries (B, T, D) against keys (B, S, D)."""
    return query @ keys.transpose(1, 2)


def additive_scores(query: Tensor, keys: Tensor, w: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """e_ts = v . tanh(W q_t + U k_s): scores (B, T, S), with W (A, D), U (A, D) and v (A,)."""
    energy = torch.tanh((query @ w.T)[:, :, None] + (keys @ u.T)[:, None])  # (B, T, S, A)
    return energy @ v


def attend(scores: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Returns weights (B, T, S) and contexts (B, T, D) from scores (B, T, S) and values (B, S, D).

    The mask is (B, 1, S) or (1, T, S). It is True where a query may look. Everywhere else the weight is zero.
    """
    visible = scores.masked_fill(~mask, -torch.inf)
    weights = visible.softmax(-1)
    return weights, weights @ values


def causal_mask(length: int) -> Tensor:
    """Returns a mask (1, T, T) with which position t sees the positions up to t, itself included."""
    return torch.ones(1, length, length, dtype=torch.bool).tril()


def multi_head(query: Tensor, keys: Tensor, values: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Returns contexts (B, T, D): each of the heads attends with its part of the width, and the parts are joined again.

    Scores are dot products divided by the square root of the width of a head, D / H. Call `attend`.
    """
    scores = dot_scores(split(query, heads), split(keys, heads)) / (query.shape[2] // heads) ** 0.5
    _, contexts = attend(scores, split(values, heads), mask_of_heads(mask, heads))
    return join(contexts, heads)


def split(states: Tensor, heads: int) -> Tensor:
    """Splits the width: (B, S, D) becomes (B * H, S, D / H). This one is given; you need it in `multi_head`."""
    return states.unflatten(2, (heads, -1)).transpose(1, 2).flatten(0, 1)


def join(states: Tensor, heads: int) -> Tensor:
    """Joins the heads: (B * H, T, D / H) becomes (B, T, D). This one is given too."""
    return states.unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)


def mask_of_heads(mask: Tensor, heads: int) -> Tensor:
    """Repeats a mask for each head: (B, 1, S) becomes (B * H, 1, S). One for all sentences stays as it is."""
    return mask if len(mask) == 1 else torch.repeat_interleave(mask, heads, 0)
