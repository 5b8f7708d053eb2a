"""The steps between the products of a Transformer layer: dropout, residual sum and norm, and activation."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from nmt.fast.gpu.dropout import dropped
from nmt.fast.triton import usable

# N rows, D width


def residual_norm(
    states: Tensor | None,
    update: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    shift: Tensor | None = None,
    *,
    epsilon: float = 1e-5,
    dropout: float = 0.0,
    seed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Adds a sublayer's output to the states and normalises the sum; returns sum and norm, each (N, D).

    Pre-norm continues with the sum and reads the norm; post-norm needs only the norm.

    Args:
        states: (N, D); None: zeros.
        update: (N, D) output of the sublayer.
        weight: (D,) weight of the norm, in this precision or in fp32.
        bias: (D,) bias of a layer norm (Ba et al. 2016), typed as the weight; None: an RMS norm (Zhang and Sennrich 2019).
        shift: (D,) bias of the sublayer's last product, still to be added to the update; typed as the weight.
        epsilon: epsilon of the norm.
        dropout: dropout of the update.
        seed: one int64 that seeds the dropout; None: no dropout.
    """
    if usable(update):
        from nmt.fast.triton.norm import residual_norm as kernel

        total, normed = kernel(states, update, weight, bias, shift, seed, epsilon, 0.0 if seed is None else dropout)
        return total, normed
    if shift is not None:
        update = update + shift.to(update.dtype)
    total = dropped(update, seed, dropout)
    if states is not None:
        total = states + total
    return total, plain_norm(total, weight, bias, epsilon)


def plain_norm(states: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
    """Normalises states (N, D) in their precision; see `residual_norm`."""
    if bias is None:
        return F.rms_norm(states, states.shape[1:], weight.to(states.dtype), epsilon)
    return F.layer_norm(states, states.shape[1:], weight.to(states.dtype), bias.to(states.dtype), epsilon)


def activated(
    states: Tensor, activation: Literal["relu", "gelu"], dropout: float = 0.0, seed: Tensor | None = None
) -> Tensor:
    """Applies ReLU or GELU to states of any shape, then dropout by a seed."""
    if usable(states):
        from nmt.fast.triton.norm import activated as kernel

        found: Tensor = kernel(states, seed, activation == "gelu", 0.0 if seed is None else dropout)
        return found
    return dropped(F.relu(states) if activation == "relu" else F.gelu(states), seed, dropout)


def activated_product(
    states: Tensor,
    weight: Tensor,
    bias: Tensor,
    activation: Literal["relu", "gelu"],
    dropout: float = 0.0,
    seed: Tensor | None = None,
) -> Tensor:
    """Returns ReLU or GELU of states (N, D) times weight (F, D) plus bias (F,), with dropout by a seed."""
    if usable(states) and activation == "relu" and seed is None:
        from nmt.fast.triton.rectified import rectified_product

        found: Tensor = rectified_product(states, weight, bias)
        return found
    return activated(F.linear(states, weight, bias), activation, dropout, seed)


def product(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiplies states (N, D) by weight (F, D) and adds bias (F,)."""
    if usable(states):
        from nmt.fast.triton.columns import Product

        found: Tensor = Product.apply(states, weight, bias)  # type: ignore[no-untyped-call]  # torch's gap
        return found
    return F.linear(states, weight, bias)
