"""Dropout with cheap random bits on CPU, where drawing the mask takes most of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Sets each number to zero with a probability and scales up the others (Srivastava et al. 2014)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, states: Tensor) -> Tensor:
        """Applies dropout to states of any shape; the shape stays."""
        return drop(states, self.probability if self.training else 0.0)

    if TYPE_CHECKING:
        __call__ = forward


def drop(states: Tensor, probability: float) -> Tensor:
    """Applies dropout at a probability, which is rounded to 1/65536 on CPU."""
    if probability == 0.0:
        return states
    if states.device.type != "cpu":
        return F.dropout(states, probability)
    result: Tensor = _BitDropout.apply(states, probability)  # type: ignore[no-untyped-call]  # torch leaves `apply` untyped
    return result


def drop_words(embedded: Tensor, probability: float) -> Tensor:
    """Zeroes whole embeddings of (B, T, E) at a probability, and scales up the others.

    Each position is drawn by itself, as by Sennrich and Zhang 2019. Gal and Ghahramani 2016 draw each word type of a sentence.
    """
    if probability == 0.0:
        return embedded
    return embedded * F.dropout(embedded.new_ones((*embedded.shape[:2], 1)), probability)


class _BitDropout(torch.autograd.Function):
    """Decides on each number by 16 random bits: a quarter of the draws, and no floating point."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, probability: float) -> Tensor:
        """Returns the states with dropout applied."""
        count = states.numel()
        bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        threshold = min(round(probability * 65536), 65535) - 32768
        kept = bits.view(torch.int16)[:count].view(states.shape).ge(threshold)
        mask = kept.to(states.dtype).mul_(65536 / (65536 - (threshold + 32768)))
        ctx.save_for_backward(mask)
        return states * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Applies the mask of the forward pass to the gradient."""
        (mask,) = ctx.saved_tensors
        return gradients[0] * mask, None
