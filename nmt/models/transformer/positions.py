"""Word positions: added to the embedding, rotated into queries and keys, or counted as distance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nmt.config.model import PositionName
from nmt.models.dropout import Dropout, drop_words

LEARNED = 256  # learned positions; later ones share the last embedding

# B sentences, T positions, D width, H heads, K width of a head


class TransformerEmbedding(nn.Module):
    """sqrt(D) times the embedding (Vaswani et al. 2017, section 3.4), plus the position (section 3.5) where it is added."""

    def __init__(self, table: nn.Embedding, positions: PositionName, dropout: float, word_dropout: float) -> None:
        super().__init__()
        self.table, self.word_dropout = table, word_dropout
        self.dropout = Dropout(dropout)
        self.learned = nn.Embedding(LEARNED, table.embedding_dim) if positions == "learned" else None
        self.sinusoidal = positions == "sinusoidal"
        self.positions: Tensor
        # Without values on the meta device: to compute them there torch loads its compiler.
        rows = table.weight.detach() if table.weight.is_meta else sinusoids(256, table.embedding_dim)
        self.register_buffer("positions", rows.float(), persistent=False)

    def forward(self, tokens: Tensor, first: int = 0, together: bool = False) -> Tensor:
        """Embeds tokens (B, T) at the positions from `first` on, or with `together` all at `first`: (B, T, D)."""
        embedded = drop_words(self.table(tokens), self.word_dropout if self.training else 0.0)
        return self.placed(embedded * math.sqrt(self.table.embedding_dim), first, together)

    if TYPE_CHECKING:
        __call__ = forward

    def placed(self, scaled: Tensor, first: int = 0, together: bool = False) -> Tensor:
        """Adds positions to vectors (B, T, D), and drops some numbers in training; see `forward`."""
        count = 1 if together else scaled.shape[1]
        if self.learned is not None:
            places = torch.arange(first, first + count, device=scaled.device).clamp_(max=LEARNED - 1)
            scaled = scaled + self.learned(places)
        elif self.sinusoidal:
            scaled = scaled + self.sinusoids(first + count)[first:]
        return self.dropout(scaled)

    def sinusoids(self, count: int) -> Tensor:
        """Returns the sinusoids of the first positions: (count, D)."""
        if count > len(self.positions):
            self.positions = sinusoids(2 * count, self.table.embedding_dim).to(self.table.weight)
        return self.positions[:count]

    def added(self, count: int) -> Tensor:
        """Returns the vectors added at the first positions: (count, D). They are zero where positions are not added."""
        if self.learned is None:
            return sinusoids(count, self.table.embedding_dim) * self.sinusoidal
        places = torch.arange(count, device=self.learned.weight.device).clamp_(max=LEARNED - 1)
        return self.learned(places)


class Rotary(nn.Module):
    """Rotates pairs of a query or key by the angle p / 10000^(2i/K); their product then depends on the distance alone.

    Su et al. 2021, equation 34, with pairs (i, i + K/2).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, states: Tensor, first: int, together: bool) -> Tensor:
        """Rotates states (B * H, T, K) at the positions from `first` on, or with `together` all at `first`."""
        count = 1 if together else states.shape[1]
        rates = 10000 ** (-torch.arange(0, self.width, 2, dtype=torch.float64) / self.width)
        angles = torch.arange(first, first + count, dtype=torch.float64)[:, None] * rates  # (T, K / 2)
        cosine, sine = (part.to(states) for part in (angles.cos(), angles.sin()))
        left, right = states.chunk(2, -1)
        return torch.cat([left * cosine - right * sine, right * cosine + left * sine], -1)

    if TYPE_CHECKING:
        __call__ = forward


def distance_bias(here: Tensor, there: Tensor, heads: int) -> Tensor:
    """Returns the ALiBi bias (..., H, T, S) of positions (..., T) and (..., S).

    It is -m_h |p - q| with m_h = 2^(-8h/H) (Press et al. 2022, section 3).
    """
    slopes = 2 ** (-8 * torch.arange(1, heads + 1, dtype=torch.float64, device=here.device) / heads)
    distances = (here[..., :, None] - there[..., None, :]).abs()  # (..., T, S)
    return -slopes[:, None, None] * distances[..., None, :, :]


def sinusoids(count: int, width: int) -> Tensor:
    """Returns the sinusoids (count, D) in float64 (section 3.5).

    PE(p, 2i) = sin(p / 10000^(2i/D)), PE(p, 2i+1) = cos(p / 10000^(2i/D)).
    """
    positions = torch.arange(count, dtype=torch.float64)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000) / width))
    return torch.stack([torch.sin(positions * rates), torch.cos(positions * rates)], -1).flatten(1)
