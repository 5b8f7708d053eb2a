"""What stands between the products of a Transformer's layer: dropout, residual sum and norm, and the activation."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from nmt.fast.dropout import dropped
from nmt.fast.triton import usable

# N rows, D width


def residual_norm(
    states: Tensor,
    update: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    epsilon: float = 1e-5,
    dropout: float = 0.0,
    seed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The states with what a sublayer made of them, and the norm of that, each (N, D).

    Pre-norm goes on from the first and reads the second; post-norm needs the second alone.

    Args:
        states: (N, D)
        update: (N, D) from the sublayer.
        weight: (D,) of the norm.
        bias: (D,) of a layer norm (Ba et al. 2016); None: it is an RMS norm (Zhang and Sennrich 2019).
        epsilon: of the norm.
        dropout: of the update.
        seed: one int64, which decides on the dropout; None: there is none.
    """
    if usable(states):
        from nmt.fast.triton.norm import residual_norm as kernel

        total, normed = kernel(states, update, weight, bias, seed, epsilon, 0.0 if seed is None else dropout)
        return total, normed
    total = states + dropped(update, seed, dropout)
    if bias is None:
        return total, F.rms_norm(total, total.shape[1:], weight, epsilon)
    return total, F.layer_norm(total, total.shape[1:], weight, bias, epsilon)


def activated(
    states: Tensor, activation: Literal["relu", "gelu"], dropout: float = 0.0, seed: Tensor | None = None
) -> Tensor:
    """ReLU or GELU of states of any shape, and dropout by a seed."""
    if usable(states):
        from nmt.fast.triton.norm import activated as kernel

        found: Tensor = kernel(states, seed, activation == "gelu", 0.0 if seed is None else dropout)
        return found
    return dropped(F.relu(states) if activation == "relu" else F.gelu(states), seed, dropout)
