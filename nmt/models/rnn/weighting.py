"""From scores to weights over the source: soft, sparse, local and hard attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.config.model import WeightingName

# B sentences, S source positions, T target positions (or hypotheses of one sentence), Q width of the query


@dataclass(frozen=True)
class Place:
    """Position and state of the decoder when it attends to the source."""

    query: Tensor
    """(B, T, Q)"""
    mask: Tensor
    """(B, S) True at real source positions."""
    positions: Tensor
    """(T,) target positions, or (1,) where all hypotheses share one."""

    @property
    def last(self) -> Tensor:
        """(B, 1) the last real source position."""
        return self.mask.sum(1, keepdim=True) - 1


@dataclass(frozen=True)
class Weights:
    """The weight of each source position in the context."""

    values: Tensor
    """(B, T, S)"""
    drawn: Tensor | None = None
    """(B, T) log-probabilities of drawn positions; None if nothing was drawn."""


class Softmax(nn.Module):
    """alpha_ij = exp(e_ij) / sum_k exp(e_ik): Bahdanau et al. 2015, equation 6."""

    def forward(self, scores: Tensor, _place: Place) -> Weights:
        """Returns the weights of scores (B, T, S), which are -inf at padding."""
        return Weights(scores.softmax(-1))


class Sparsemax(nn.Module):
    """argmin_p |p - e|^2 over the probability simplex; most weights are zero: Martins and Astudillo 2016, algorithm 1."""

    def forward(self, scores: Tensor, _place: Place) -> Weights:
        """Returns the weights of scores (B, T, S), which are -inf at padding."""
        exact = scores.to(torch.promote_types(scores.dtype, torch.float32))
        ranked = exact.sort(-1, descending=True).values
        count = torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=exact.dtype)
        sums = ranked.cumsum(-1)
        support = (1 + count * ranked > sums).sum(-1, keepdim=True).clamp(min=1)  # k(z); 0 where scores are not finite
        threshold = (sums.gather(-1, support - 1) - 1) / support  # tau(z)
        return Weights((exact - threshold).clamp(min=0).to(scores.dtype))


class LocalMonotonic(nn.Module):
    """Softmax within D positions of p_i = min(i, last position): Luong et al. 2015, section 3.2, local-m."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def forward(self, scores: Tensor, place: Place) -> Weights:
        """Returns the weights of scores (B, T, S), which are -inf at padding."""
        centre = torch.minimum(place.positions[None], place.last)  # (B, T)
        return Weights(_within(scores, centre, self.window).softmax(-1))


class LocalPredictive(nn.Module):
    """alpha_ij = softmax_j e_ij exp(-(j - p_i)^2 / 2 (D/2)^2), p_i = (S - 1) sigmoid(v . tanh(W s_i)).

    Luong et al. 2015, equations 9 and 10, local-p. The last position is S - 1 here, where the paper has S. Attention sees
    only the D positions on either side of p_i.
    """

    def __init__(self, query: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.inner = nn.Linear(query, query, bias=False)
        self.outer = nn.Linear(query, 1, bias=False)

    def forward(self, scores: Tensor, place: Place) -> Weights:
        """Returns the weights of scores (B, T, S), which are -inf at padding."""
        share = torch.sigmoid(self.outer(torch.tanh(self.inner(place.query)))).squeeze(-1)  # (B, T)
        centre = share.to(torch.promote_types(share.dtype, torch.float32)) * place.last
        near = _within(scores, centre, self.window).softmax(-1)
        distance = _distance(scores, centre) * (2 / self.window)
        return Weights(near * torch.exp(-distance.square() / 2).to(scores.dtype))


class Hard(nn.Module):
    """Attends to one position: drawn while training, else the most probable. Xu et al. 2015, section 4.1.

    The draw has no gradient. The loss rewards its log-probability instead (REINFORCE, Williams 1992).
    """

    def forward(self, scores: Tensor, _place: Place) -> Weights:
        """Returns the weights of scores (B, T, S), which are -inf at padding."""
        if not self.training:
            return Weights(_one_hot(scores.argmax(-1), scores))
        probability = scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(-1)
        drawable = probability.detach().nan_to_num(1.0)  # of scores that are not finite: the loss says so
        chosen = drawable.flatten(0, 1).multinomial(1).view(scores.shape[:2])  # (B, T)
        drawn = probability.gather(-1, chosen[..., None]).squeeze(-1).clamp(min=1e-9).log()
        return Weights(_one_hot(chosen, scores), drawn)


class Gumbel(nn.Module):
    """Attends to one position, drawn by Gumbel-max while training, with the gradient of the softmax of the noisy scores.

    This is the straight-through Gumbel-softmax at temperature 1: Jang et al. 2017, section 2.2.
    """

    def forward(self, scores: Tensor, _place: Place) -> Weights:
        """Returns the weights of scores (B, T, S), which are -inf at padding."""
        if not self.training:
            return Weights(_one_hot(scores.argmax(-1), scores))
        noise = -torch.empty_like(scores, dtype=torch.float32).exponential_().log()
        soft = (scores + noise.to(scores.dtype)).softmax(-1)
        return Weights(_one_hot(soft.argmax(-1), scores) + soft - soft.detach())


Weighting = Softmax | Sparsemax | LocalMonotonic | LocalPredictive | Hard | Gumbel


def make_weighting(name: WeightingName, query: int, window: int) -> Weighting:
    """Makes the weighting of that name, for queries of width `query`."""
    match name:
        case "softmax":
            return Softmax()
        case "sparsemax":
            return Sparsemax()
        case "local_monotonic":
            return LocalMonotonic(window)
        case "local_predictive":
            return LocalPredictive(query, window)
        case "hard":
            return Hard()
        case "gumbel":
            return Gumbel()
        case _:
            assert_never(name)


def _within(scores: Tensor, centre: Tensor, window: int) -> Tensor:
    """Returns scores (B, T, S) with -inf at positions more than `window` from the centres (B, T)."""
    return scores.masked_fill(_distance(scores, centre) > window, -torch.inf)


def _distance(scores: Tensor, centre: Tensor) -> Tensor:
    """Returns the distance of each source position from the centres (B, T): (B, T, S)."""
    return (torch.arange(scores.shape[-1], device=scores.device) - centre[..., None]).abs()


def _one_hot(chosen: Tensor, like: Tensor) -> Tensor:
    return F.one_hot(chosen, like.shape[-1]).to(like.dtype)
