"""What stands between the products of a Transformer's layer: dropout, residual sum and norm, and the activation."""

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
    """The states with what a sublayer made of them, and the norm of that, each (N, D).

    Pre-norm goes on from the first and reads the second; post-norm needs the second alone.

    Args:
        states: (N, D); None: zeros.
        update: (N, D) from the sublayer.
        weight: (D,) of the norm, in this precision or in fp32.
        bias: (D,) of a layer norm (Ba et al. 2016), as the weight; None: it is an RMS norm (Zhang and Sennrich 2019).
        shift: (D,) what is still to be added to the update, the bias of the product that made it; as the weight.
        epsilon: of the norm.
        dropout: of the update.
        seed: one int64, which decides on the dropout; None: there is none.
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
    """The norm of states (N, D), in their precision; see `residual_norm`."""
    if bias is None:
        return F.rms_norm(states, states.shape[1:], weight.to(states.dtype), epsilon)
    return F.layer_norm(states, states.shape[1:], weight.to(states.dtype), bias.to(states.dtype), epsilon)


def activated(
    states: Tensor, activation: Literal["relu", "gelu"], dropout: float = 0.0, seed: Tensor | None = None
) -> Tensor:
    """ReLU or GELU of states of any shape, and dropout by a seed."""
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
    """ReLU or GELU of states (N, D) times weight (F, D) plus bias (F,), and dropout by a seed."""
    if usable(states) and activation == "relu" and seed is None:
        from nmt.fast.triton.rectified import rectified_product

        found: Tensor = rectified_product(states, weight, bias)
        return found
    return activated(F.linear(states, weight, bias), activation, dropout, seed)


def product(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """States (N, D) times weight (F, D), plus bias (F,)."""
    if usable(states):
        from nmt.fast.triton.columns import Product

        found: Tensor = Product.apply(states, weight, bias)  # type: ignore[no-untyped-call]  # torch's gap
        return found
    return F.linear(states, weight, bias)
