"""Attention from scratch: write the ten lines that are missing, then `python docs/teaching/check_attention.py FILE`.

B sentences, T target positions (of queries), S source positions (of keys), D width, H heads, A width of the additive score.
"""

import torch
from torch import Tensor


def dot_scores(query: Tensor, keys: Tensor) -> Tensor:
    """e_ts = q_t . k_s: scores (B, T, S) of queries (B, T, D) against keys (B, S, D)."""
    raise NotImplementedError  # 1 line


def additive_scores(query: Tensor, keys: Tensor, w: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """e_ts = v . tanh(W q_t + U k_s): scores (B, T, S), with W (A, D), U (A, D) and v (A,)."""
    raise NotImplementedError  # 2 lines


def attend(scores: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Returns weights (B, T, S) and contexts (B, T, D) from scores (B, T, S) and values (B, S, D).

    The mask is (B, 1, S) or (1, T, S). It is True where a query may look. Everywhere else the weight is zero.
    """
    raise NotImplementedError  # 3 lines


def causal_mask(length: int) -> Tensor:
    """Returns a mask (1, T, T) with which position t sees the positions up to t, itself included."""
    raise NotImplementedError  # 1 line


def multi_head(query: Tensor, keys: Tensor, values: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Returns contexts (B, T, D): each of the heads attends with its part of the width, and the parts are joined again.

    Scores are dot products divided by the square root of the width of a head, D / H. Call `attend`.
    """
    raise NotImplementedError  # 3 lines


def split(states: Tensor, heads: int) -> Tensor:
    """Splits the width: (B, S, D) becomes (B * H, S, D / H). This one is given; you need it in `multi_head`."""
    return states.unflatten(2, (heads, -1)).transpose(1, 2).flatten(0, 1)


def join(states: Tensor, heads: int) -> Tensor:
    """Joins the heads: (B * H, T, D / H) becomes (B, T, D). This one is given too."""
    return states.unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)


def mask_of_heads(mask: Tensor, heads: int) -> Tensor:
    """Repeats a mask for each head: (B, 1, S) becomes (B * H, 1, S). One for all sentences stays as it is."""
    return mask if len(mask) == 1 else torch.repeat_interleave(mask, heads, 0)
