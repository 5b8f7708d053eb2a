"""Additive attention by exponentials that factor: one for each state instead of one for each pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nmt.models.rnn.scores import AdditiveScore


class ExponentialScore(nn.Module):
    """Additive attention without a tanh for each pair of states: its exponentials factor, and each is taken once.

    tanh(q + k) = 1 - 2 / (1 + e^2q e^2k), so that v . tanh(q + k) is -2 v . 1 / (1 + e^2q e^2k) and a constant, which the
    softmax does not see.
    """

    def __init__(self, score: AdditiveScore) -> None:
        super().__init__()
        self.key, self.query, self.combine = score.keys, score.query, score.combine
        self.vector = score.combine.weight[0].float()  # v (A,)

    def keys(self, values: Tensor) -> Tensor:
        """Exponentials (B, S, A) of the keys of values (B, S, C)."""
        return self.exponential(self.key(values))

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores (B, T, S), but for a constant, of query (B, T, Q) against keys (B, S, A)."""
        sums = self.factors(query)[:, :, None] * keys[:, None]  # (B, T, S, A)
        return self.combine(sums.add_(1).reciprocal_()).squeeze(-1) * -2

    if TYPE_CHECKING:
        __call__ = forward

    def factors(self, query: Tensor) -> Tensor:
        """Exponentials (..., A) of a query (..., Q)."""
        return self.exponential(self.query(query))

    @staticmethod
    def exponential(states: Tensor) -> Tensor:
        """e^2x, kept where two of them still multiply within single precision; tanh is flat long before."""
        return torch.exp(states.float().clamp(-20, 20) * 2).to(states.dtype)
