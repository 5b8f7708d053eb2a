"""Score functions between decoder and encoder states: the energy e_ij of source position j for target position i.

There is one class for each formula. Its `formula` says in plain text what `forward` computes: s_i is the query, h_j an
encoder state.
"""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor, nn

from nmt.config.model import ScoreName

# B sentences, S source positions, T target positions (or hypotheses of one sentence)
# Q width of the query, C width of the values, A width of the keys, H heads


class AdditiveScore(nn.Module):
    """Compares by a layer of tanh: Bahdanau et al. 2015, appendix A.1.2."""

    formula = "e_ij = v · tanh(W s_i + U h_j)"

    def __init__(self, query: int, value: int, width: int) -> None:
        super().__init__()
        self.keys = nn.Linear(value, width)
        self.query = nn.Linear(query, width, bias=False)
        self.combine = nn.Linear(width, 1, bias=False)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores (B, T, S) of query (B, T, Q) against keys (B, S, A)."""
        energy = torch.tanh(self.query(query)[:, :, None] + keys[:, None])  # (B, T, S, A)
        return self.combine(energy).squeeze(-1)  # (B, T, S)


class CoverageScore(AdditiveScore):
    """Compares by a layer of tanh that also knows the attention so far: See et al. 2017, equations 10 and 11."""

    formula = "e_ij = v · tanh(W s_i + U h_j + w Σ_k<i α_kj)"

    def __init__(self, query: int, value: int, width: int) -> None:
        super().__init__(query, value, width)
        self.coverage = nn.Linear(1, width, bias=False)

    def covered(self, query: Tensor, keys: Tensor, coverage: Tensor) -> Tensor:
        """Scores as `forward` does, given the attention (B, T, S) that each source position has had so far."""
        energy = self.query(query)[:, :, None] + keys[:, None] + self.coverage(coverage[..., None])  # (B, T, S, A)
        return self.combine(torch.tanh(energy)).squeeze(-1)


class DotScore(nn.Module):
    """Compares by the scalar product (Luong et al. 2015, section 3.1), also scaled (Vaswani et al. 2017, equation 1)."""

    def __init__(self, query: int, scaled: bool) -> None:
        super().__init__()
        self.formula = "e_ij = s_i · h_j / √Q" if scaled else "e_ij = s_i · h_j"
        self.keys = nn.Identity()
        self.scale = query**-0.5 if scaled else 1.0

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores (B, T, S) of query (B, T, Q) against keys (B, S, Q)."""
        return torch.bmm(query * self.scale, keys.transpose(1, 2))


class BilinearScore(nn.Module):
    """Compares by a matrix: Luong et al. 2015, section 3.1, "general"."""

    formula = "e_ij = s_i · W h_j"

    def __init__(self, query: int, value: int) -> None:
        super().__init__()
        self.keys = nn.Linear(value, query, bias=False)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores (B, T, S) of query (B, T, Q) against keys (B, S, Q)."""
        return torch.bmm(query, keys.transpose(1, 2))


class LocationScore(nn.Module):
    """Scores the position alone: Luong et al. 2015, equation 8. Later positions share the last score."""

    formula = "e_ij = (W s_i)_j"
    positions = 256

    def __init__(self, query: int) -> None:
        super().__init__()
        self.keys = nn.Identity()
        self.places = nn.Linear(query, self.positions, bias=False)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores (B, T, S) of query (B, T, Q); only the length S of the keys (B, S, C) is used."""
        scores = self.places(query)  # (B, T, positions)
        places = torch.arange(keys.shape[1], device=query.device).clamp_(max=self.positions - 1)
        return scores.index_select(2, places)


class MultiHeadScore(nn.Module):
    """Compares in each of H parts of the width A: Vaswani et al. 2017, section 3.2.2."""

    formula = "e_ij = (W_Q s_i) · (W_K h_j) / √(A / H)"

    def __init__(self, query: int, value: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (query // heads) ** -0.5
        self.keys = nn.Linear(value, query, bias=False)
        self.query = nn.Linear(query, query, bias=False)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores (B * H, T, S) of query (B, T, Q) against keys (B, S, Q)."""
        parts = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2).flatten(0, 1) for part in (self.query(query), keys)
        )
        left, right = parts  # (B * H, T, K), (B * H, S, K)
        return torch.bmm(left * self.scale, right.transpose(1, 2))


Score = AdditiveScore | DotScore | BilinearScore | LocationScore | MultiHeadScore


def make_score(name: ScoreName, query: int, value: int, coverage: bool = False, heads: int = 1) -> Score:
    """Makes the score function of that name. Its `keys` map the values once per sentence, outside the recurrence."""
    match name:
        case "additive":
            return (CoverageScore if coverage else AdditiveScore)(query, value, width=query)
        case "dot" | "scaled_dot":
            return DotScore(query, scaled=name == "scaled_dot")
        case "bilinear":
            return BilinearScore(query, value)
        case "location":
            return LocationScore(query)
        case "multi_head":
            return MultiHeadScore(query, value, heads)
        case _:
            assert_never(name)
