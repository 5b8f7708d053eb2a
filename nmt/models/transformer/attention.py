"""Multi-head scaled dot-product attention."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nmt.models.dropout import drop
from nmt.models.softmax import softmax
from nmt.models.transformer.positions import Rotary

# Without cuDNN's, which torch prefers on some GPUs: it plans for tenths of a second at each new shape, and most are new.
_FUSED_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]

# B sentences, S source positions, T target positions (or hypotheses of one sentence), D width, H heads, K width of a head


@dataclass(frozen=True)
class KeyValue:
    """Projected keys and values of one attention layer."""

    key: Tensor
    """(B * H, S, K)"""
    value: Tensor
    """(B * H, S, K)"""

    def contiguous(self) -> KeyValue:
        """Returns a copy with contiguous memory."""
        return KeyValue(self.key.contiguous(), self.value.contiguous())

    def followed_by(self, other: KeyValue) -> KeyValue:
        """These positions, then the others."""
        return KeyValue(torch.cat([self.key, other.key], 1), torch.cat([self.value, other.value], 1))

    def padded(self, count: int) -> KeyValue:
        """Appends `count` positions of zeros."""
        return KeyValue(F.pad(self.key, (0, 0, 0, count)), F.pad(self.value, (0, 0, 0, count)))

    def to(self, dtype: torch.dtype) -> KeyValue:
        """Converts to another precision, in which attention is then computed."""
        return KeyValue(self.key.to(dtype), self.value.to(dtype))

    def select(self, rows: Tensor, heads: int) -> KeyValue:
        """Selects the given rows of the batch."""
        key, value = (
            part.unflatten(0, (-1, heads)).index_select(0, rows).flatten(0, 1) for part in (self.key, self.value)
        )
        return KeyValue(key, value)

    def take(self, places: Tensor) -> KeyValue:
        """Gathers positions (R, N) by their index into all B * H * S."""
        key, value = (
            part.flatten(0, 1).index_select(0, places.flatten()).view(*places.shape, -1)
            for part in (self.key, self.value)
        )
        return KeyValue(key, value)


class MultiHeadAttention(nn.Module):
    """MultiHead(Q, K, V) = Concat(head_1 .. head_H) W^O: Vaswani et al. 2017, section 3.2.2."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0, scaled: bool = True) -> None:
        """If not `scaled`, queries are multiplied by sqrt(K), which undoes the division in `dot_product_attention`."""
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.gain = 1.0 if scaled else math.sqrt(width // heads)
        self.scale = self.gain / math.sqrt(width // heads)
        self.output = nn.Linear(width, width)

    def forward(self, query: Tensor, memory: KeyValue, bias: Tensor | None = None, causal: bool = False) -> Tensor:
        """Attends from projected queries (B * H, T, K) to a memory; returns (B, T, D).

        Args:
            query: projected queries, from the `project` methods of the subclasses.
            memory: projected keys and values of S positions.
            bias: (B * H, 1 or T, S) from `mask_bias`; None: every position is visible.
            causal: position t sees only positions up to t (then S = T, and there is no bias).
        """
        heads = dot_product_attention(
            query, memory, bias, causal, self.dropout if self.training else 0.0, self.heads
        )  # (B * H, T, K)
        return self.output(heads.unflatten(0, (-1, self.heads)).transpose(1, 2).flatten(2))  # (B, T, D)

    if TYPE_CHECKING:
        __call__ = forward

    def scaled_query(self, query: Tensor) -> Tensor:
        """Scales the queries if the model is unscaled; see `__init__`."""
        return query if self.gain == 1.0 else query * self.gain

    def split_heads(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Splits (B, T, parts * D) into `parts` tensors (B * H, T, K)."""
        heads = projected.unflatten(2, (parts, self.heads, -1))  # (B, T, parts, H, K)
        return heads.permute(2, 0, 3, 1, 4).flatten(1, 2).unbind(0)


class SelfAttention(MultiHeadAttention):
    """Attention of states to states; the three projections are one product."""

    def __init__(
        self, width: int, heads: int, dropout: float = 0.0, scaled: bool = True, rotary: Rotary | None = None
    ) -> None:
        super().__init__(width, heads, dropout, scaled)
        self.projection = nn.Linear(width, 3 * width)
        self.rotary = rotary

    def project(self, states: Tensor, first: int = 0, together: bool = False) -> tuple[Tensor, KeyValue]:
        """Returns queries (B * H, T, K), keys and values of the states (B, T, D).

        Rotary positions count up from `first`; with `together` all states are at position `first`.
        """
        query, key, value = self.split_heads(self.projection(states), 3)
        if self.rotary is not None:
            query, key = self.rotary(query, first, together), self.rotary(key, first, together)
        return self.scaled_query(query), KeyValue(key, value)


class CrossAttention(MultiHeadAttention):
    """Attention from the decoder's states to the encoder's."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0, scaled: bool = True) -> None:
        super().__init__(width, heads, dropout, scaled)
        self.query = nn.Linear(width, width)
        self.memory = nn.Linear(width, 2 * width)

    def project_query(self, states: Tensor) -> Tensor:
        """Returns queries (B * H, T, K) of the decoder's states (B, T, D)."""
        return self.scaled_query(self.split_heads(self.query(states), 1)[0])

    def project_memory(self, states: Tensor) -> KeyValue:
        """Returns keys and values (B * H, S, K) of the encoder's states (B, S, D), computed once per sentence."""
        return KeyValue(*self.split_heads(self.memory(states), 2))


def dot_product_attention(
    query: Tensor, memory: KeyValue, bias: Tensor | None, causal: bool, dropout: float, heads: int
) -> Tensor:
    """Returns softmax(Q K^T / sqrt(K)) V: (B * H, T, K). Vaswani et al. 2017, equation 1."""
    if query.is_cuda:
        q, k, v = (part.unflatten(0, (-1, heads)) for part in (query, memory.key, memory.value))
        mask = None if bias is None else bias.unflatten(0, (-1, heads)).to(q.dtype)
        with sdpa_kernel(_FUSED_KERNELS):
            return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal).flatten(0, 1)
    # On CPU two products and a softmax train several times faster than the fused kernel, at the lengths of sentences.
    weights = attention_weights(query.to(memory.key.dtype), memory.key, bias, causal)
    return torch.bmm(drop(weights, dropout), memory.value).to(query.dtype)


def attention_weights(query: Tensor, key: Tensor, bias: Tensor | None, causal: bool) -> Tensor:
    """Returns softmax(Q K^T / sqrt(K)): (B * H, T, S), zero where the bias (B * H, 1 or T, S) is -inf."""
    scale = 1 / math.sqrt(query.shape[-1])
    if causal:
        bias = query.new_full((1, query.shape[1], query.shape[1]), -torch.inf).triu_(1)
    if bias is None:
        return softmax(torch.bmm(query * scale, key.transpose(1, 2)))
    return softmax(torch.baddbmm(bias, query, key.transpose(1, 2), alpha=scale))


def mask_bias(mask: Tensor, heads: int, dtype: torch.dtype) -> Tensor:
    """Returns the bias to add to scores (B * H, T, S): 0 where mask (B, 1 or T, S) is True, -inf elsewhere."""
    bias = torch.where(mask, *_shown_and_hidden(dtype, mask.device))
    return bias[:, None].expand(-1, heads, -1, -1).flatten(0, 1)


@cache
def _shown_and_hidden(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.tensor(0.0, dtype=dtype, device=device), torch.tensor(-torch.inf, dtype=dtype, device=device)
