"""Additive attention by exponentials that factor: one per state instead of one per pair of states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nmt.models.rnn.scores import AdditiveScore


class ExponentialScore(nn.Module):
    """Additive attention without a tanh per pair of states: the exponentials factor, and each is computed once.

    tanh(q + k) = 1 - 2 / (1 + e^2q e^2k). So v . tanh(q + k) is -2 v . 1 / (1 + e^2q e^2k) plus a constant, and the softmax
    ignores the constant.
    """

    formula = AdditiveScore.formula

    def __init__(self, score: AdditiveScore) -> None:
        super().__init__()
        self.key, self.query, self.combine = score.keys, score.query, score.combine
        self.vector = score.combine.weight[0].float()  # v (A,)

    def keys(self, values: Tensor) -> Tensor:
        """Returns exponentials (B, S, A) of the keys of values (B, S, C)."""
        return self.exponential(self.key(values))

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Returns scores (B, T, S), up to a constant, of query (B, T, Q) against keys (B, S, A)."""
        sums = self.factors(query)[:, :, None] * keys[:, None]  # (B, T, S, A)
        return self.combine(sums.add_(1).reciprocal_()).squeeze(-1) * -2

    if TYPE_CHECKING:
        __call__ = forward

    def factors(self, query: Tensor) -> Tensor:
        """Returns exponentials (..., A) of a query (..., Q)."""
        return self.exponential(self.query(query))

    @staticmethod
    def exponential(states: Tensor) -> Tensor:
        """Returns e^2x, clamped so that the product of two is finite in fp32; tanh is flat beyond."""
        return torch.exp(states.float().clamp(-20, 20) * 2).to(states.dtype)
