"""Layers of the Transformer (Vaswani et al. 2017, section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from nmt.config.model import TransformerConfig
from nmt.models.dropout import Dropout
from nmt.models.transformer.attention import CrossAttention, KeyValue, SelfAttention, attention_weights
from nmt.models.transformer.positions import Rotary


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each in a residual connection (section 3.1)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = make_self_attention(config)
        self.feed_forward = FeedForward(config)
        self.self_residual, self.feed_forward_residual = Residual(config), Residual(config)

    def forward(self, states: Tensor, bias: Tensor | None) -> Tensor:
        """Maps (B, S, D) to (B, S, D); see `MultiHeadAttention.forward` for the bias."""
        query, memory = self.self_attention.project(self.self_residual.before(states))
        states = self.self_residual.after(states, self.self_attention(query, memory, bias))
        update = self.feed_forward(self.feed_forward_residual.before(states))
        return self.feed_forward_residual.after(states, update)

    if TYPE_CHECKING:
        __call__ = forward


class DecoderLayer(nn.Module):
    """An encoder layer with attention to the source between its two parts (section 3.1)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = make_self_attention(config)
        self.cross_attention = CrossAttention(config.width, config.heads, config.attention_dropout, config.scaled)
        self.feed_forward = FeedForward(config)
        self.self_residual, self.cross_residual = Residual(config), Residual(config)
        self.feed_forward_residual = Residual(config)

    def forward(self, states: Tensor, memory: KeyValue, bias: Tensor | None, causal: Tensor | None = None) -> Tensor:
        """(B, T, D) to (B, T, D): T positions of a target that see each other causally.

        A `causal` bias (B * H, T, T) is for positions that are distances; it hides the future too.
        """
        return self.rest(self._attended(states, causal), memory, bias)

    if TYPE_CHECKING:
        __call__ = forward

    def step(
        self, states: Tensor, memory: KeyValue, bias: Tensor | None, past: KeyValue, position: int, near: Tensor | None
    ) -> tuple[Tensor, KeyValue]:
        """The next position of each hypothesis, (B, beam, D) to (B, beam, D), and the past (R * H, T, K) with it.

        A bias `near` (R * H, 1, T + 1) is for positions that are distances.
        """
        query, new = self.self_attention.project(self.self_residual.before(states.flatten(0, 1)[:, None]), position)
        seen = past.followed_by(new)
        update = self.self_attention(query, seen, near)  # (R, 1, D)
        return self.rest(self.self_residual.after(states, update.view_as(states)), memory, bias), seen

    def rest(self, states: Tensor, memory: KeyValue, bias: Tensor | None) -> Tensor:
        """What follows the self-attention, (B, T, D) to (B, T, D): attention to the source and the feed-forward network."""
        query = self.cross_attention.project_query(self.cross_residual.before(states))
        states = self.cross_residual.after(states, self.cross_attention(query, memory, bias))
        update = self.feed_forward(self.feed_forward_residual.before(states))
        return self.feed_forward_residual.after(states, update)

    def source_weights(self, states: Tensor, memory: KeyValue, bias: Tensor | None, causal: Tensor | None) -> Tensor:
        """Returns the weights (B * H, T, S) of the attention to the source at states (B, T, D) of a target."""
        query = self.cross_attention.project_query(self.cross_residual.before(self._attended(states, causal)))
        return attention_weights(query, memory.key, bias, causal=False)

    def _attended(self, states: Tensor, causal: Tensor | None) -> Tensor:
        """After the self-attention, (B, T, D) to (B, T, D)."""
        query, seen = self.self_attention.project(self.self_residual.before(states))
        return self.self_residual.after(states, self.self_attention(query, seen, causal, causal=causal is None))


class FeedForward(nn.Module):
    """FFN(x) = max(0, x W_1 + b_1) W_2 + b_2 (equation 2)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.width, config.feed_forward)
        self.outer = nn.Linear(config.feed_forward, config.width)
        self.activation = F.relu if config.activation == "relu" else F.gelu
        self.dropout = Dropout(config.activation_dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Maps (B, T, D) to (B, T, D)."""
        return self.outer(self.dropout(self.activation(self.inner(states))))

    if TYPE_CHECKING:
        __call__ = forward


class Residual(nn.Module):
    """LayerNorm(x + Sublayer(x)) (section 3.1), or x + Sublayer(LayerNorm(x)) for pre-norm (Xiong et al. 2020).

    With `residual = false` the x before the plus is left out, to show its use.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm = make_norm(config)
        self.pre, self.residual = config.norm == "pre", config.residual
        self.dropout = Dropout(config.dropout)

    def before(self, states: Tensor) -> Tensor:
        """Returns the input of the sublayer."""
        return self.norm(states) if self.pre else states

    def after(self, states: Tensor, update: Tensor) -> Tensor:
        """Adds the sublayer's output to the states."""
        total = self.dropout(update)
        if self.residual:
            total = states + total
        return total if self.pre else self.norm(total)


def make_norm(config: TransformerConfig) -> nn.Module:
    """Makes a LayerNorm (Ba et al. 2016), or an RMSNorm, without centring and shift (Zhang and Sennrich 2019)."""
    return nn.RMSNorm(config.width, eps=1e-5) if config.normalization == "rms" else nn.LayerNorm(config.width)


def make_self_attention(config: TransformerConfig) -> SelfAttention:
    """Self-attention, with rotary positions where the configuration has them."""
    rotary = Rotary(config.width // config.heads) if config.positions == "rotary" else None
    return SelfAttention(config.width, config.heads, config.attention_dropout, config.scaled, rotary)
