"""The Transformer (Vaswani et al. 2017), in the order of the paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.config import TransformerConfig
from nmt.models.attention import KeyValue, MultiHeadAttention
from nmt.models.dropout import Dropout
from nmt.models.seq2seq import EncoderDecoder, padding_mask, sentences_of

# B sentences, S source positions, T target positions, R = B * beam rows, D width, H heads, K width of a head, V vocabulary


@dataclass(frozen=True)
class TransformerMemory:
    """The encoded source as each decoder layer sees it."""

    layers: Sequence[KeyValue]
    """Keys and values of each layer, (B, H, S, K)."""
    mask: Tensor | None
    """(B, S) True at real positions; None: there is no padding."""

    def select(self, sentences: Tensor) -> TransformerMemory:
        """The memory of the given sentences."""
        mask = None if self.mask is None else self.mask.index_select(0, sentences)
        return TransformerMemory([layer.select(sentences) for layer in self.layers], mask)


@dataclass(frozen=True)
class TransformerState:
    """R rows in the middle of decoding."""

    memory: TransformerMemory
    past: Sequence[KeyValue | None]
    """Keys and values of the target so far, a layer each, (R, H, T, K)."""
    position: int
    beam: int


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each in a residual connection (section 3.1)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(config.width, config.heads, config.attention_dropout)
        self.feed_forward = FeedForward(config)
        self.self_residual, self.feed_forward_residual = Residual(config), Residual(config)

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """(B, S, D) to (B, S, D)."""
        query, memory = self.self_attention.project_self(self.self_residual.before(states))
        states = self.self_residual.after(states, self.self_attention(query, memory, mask))
        update = self.feed_forward(self.feed_forward_residual.before(states))
        return self.feed_forward_residual.after(states, update)

    if TYPE_CHECKING:
        __call__ = forward


class DecoderLayer(nn.Module):
    """As in the encoder, with attention to the source between the two (section 3.1)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(config.width, config.heads, config.attention_dropout)
        self.cross_attention = MultiHeadAttention(config.width, config.heads, config.attention_dropout)
        self.feed_forward = FeedForward(config)
        self.self_residual, self.cross_residual = Residual(config), Residual(config)
        self.feed_forward_residual = Residual(config)

    def forward(
        self, states: Tensor, memory: KeyValue, mask: Tensor | None, past: KeyValue | None = None
    ) -> tuple[Tensor, KeyValue]:
        """Decodes states (R, T, D), which follow the positions `past`; returns them with all positions seen.

        Without a past, T positions see each other causally. All rows of a sentence share its memory: for attention to the
        source, its hypotheses are so many queries.
        """
        query, new = self.self_attention.project_self(self.self_residual.before(states))
        seen = past.extended(new) if past else new
        states = self.self_residual.after(states, self.self_attention(query, seen, causal=past is None))
        grouped = self.cross_residual.before(states).reshape(len(memory.key), -1, states.shape[2])  # (B, beam * T, D)
        query = self.cross_attention.project_query(grouped)
        states = self.cross_residual.after(states, self.cross_attention(query, memory, mask).view_as(states))
        update = self.feed_forward(self.feed_forward_residual.before(states))
        return self.feed_forward_residual.after(states, update), seen

    if TYPE_CHECKING:
        __call__ = forward


class FeedForward(nn.Module):
    """FFN(x) = max(0, x W_1 + b_1) W_2 + b_2 (equation 2)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.width, config.feed_forward)
        self.outer = nn.Linear(config.feed_forward, config.width)
        self.activation = F.relu if config.activation == "relu" else F.gelu
        self.dropout = Dropout(config.activation_dropout)

    def forward(self, states: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        return self.outer(self.dropout(self.activation(self.inner(states))))

    if TYPE_CHECKING:
        __call__ = forward


class Residual(nn.Module):
    """LayerNorm(x + Sublayer(x)) (section 3.1), or x + Sublayer(LayerNorm(x)) for pre-norm (Xiong et al. 2020)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.pre = config.norm == "pre"
        self.dropout = Dropout(config.dropout)

    def before(self, states: Tensor) -> Tensor:
        """What the sublayer reads."""
        return self.norm(states) if self.pre else states

    def after(self, states: Tensor, update: Tensor) -> Tensor:
        """The states with what the sublayer made of them."""
        total = states + self.dropout(update)
        return total if self.pre else self.norm(total)


class Embedding(nn.Module):
    """sqrt(D) times the embedding (section 3.4), plus its position (section 3.5)."""

    def __init__(self, table: nn.Embedding, dropout: float) -> None:
        super().__init__()
        self.table = table
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor, first: int = 0) -> Tensor:
        """Tokens (B, T) at positions from `first` on, to (B, T, D)."""
        width = self.table.embedding_dim
        positions = sinusoids(first, tokens.shape[1], width).to(self.table.weight)  # (T, D)
        return self.dropout(self.table(tokens) * math.sqrt(width) + positions)

    if TYPE_CHECKING:
        __call__ = forward


class Transformer(EncoderDecoder[TransformerMemory, TransformerState]):
    """Encoder and decoder stacks over shared or separate embeddings (section 3.1 and figure 1)."""

    def __init__(self, config: TransformerConfig, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        self.config = config
        target = nn.Embedding(target_vocabulary, config.width)
        source = target if config.tie == "all" else nn.Embedding(source_vocabulary, config.width)
        self.source_embedding = Embedding(source, config.dropout)
        self.target_embedding = Embedding(target, config.dropout)
        self.encoder_layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.decoder_layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        pre = config.norm == "pre"  # post-norm states are normalised already
        self.encoder_norm = nn.LayerNorm(config.width) if pre else nn.Identity()
        self.decoder_norm = nn.LayerNorm(config.width) if pre else nn.Identity()
        self.output = nn.Linear(config.width, target_vocabulary)
        if config.tie != "none":
            self.output.weight = target.weight
        self._initialise()

    def encode(self, source: Tensor, lengths: Tensor) -> TransformerMemory:
        """See `Seq2Seq.encode`."""
        padded = int(lengths.min()) < source.shape[1]
        mask = padding_mask(lengths, source.shape[1], source.device) if padded else None
        states = self.source_embedding(source)  # (B, S, D)
        for layer in self.encoder_layers:
            states = layer(states, mask)
        states = self.encoder_norm(states)
        return TransformerMemory([layer.cross_attention.project_memory(states) for layer in self._decoder], mask)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """See `EncoderDecoder.forward`."""
        memory = self.encode(source, lengths)
        states = self.target_embedding(target)  # (B, T, D)
        for layer, keys_values in zip(self._decoder, memory.layers, strict=True):
            states, _ = layer(states, keys_values, memory.mask)
        return self.decoder_norm(states)

    if TYPE_CHECKING:
        __call__ = forward

    def start(self, memory: TransformerMemory, beam: int) -> TransformerState:
        """See `Seq2Seq.start`."""
        return TransformerState(memory, [None] * len(memory.layers), 0, beam)

    def step(self, state: TransformerState, tokens: Tensor) -> tuple[Tensor, TransformerState]:
        """See `Seq2Seq.step`."""
        states = self.target_embedding(tokens[:, None], state.position)  # (R, 1, D)
        memory, seen = state.memory, list[KeyValue]()
        for layer, keys_values, past in zip(self._decoder, memory.layers, state.past, strict=True):
            states, layer_seen = layer(states, keys_values, memory.mask, past)
            seen.append(layer_seen)
        logits = self.output(self.decoder_norm(states)).squeeze(1)  # (R, V)
        return logits, TransformerState(memory, seen, state.position + 1, state.beam)

    def reorder(self, state: TransformerState, rows: Tensor) -> TransformerState:
        """See `Seq2Seq.reorder`."""
        memory = state.memory
        if len(rows) != memory.layers[0].key.shape[0] * state.beam:
            memory = memory.select(sentences_of(rows, state.beam))
        past = [layer.select(rows) if layer else None for layer in state.past]
        return TransformerState(memory, past, state.position, state.beam)

    @property
    def _decoder(self) -> list[DecoderLayer]:
        return [layer for layer in self.decoder_layers if isinstance(layer, DecoderLayer)]

    def _initialise(self) -> None:
        """Glorot for matrices (queries, keys and values each on their own), N(0, 1/D) for embeddings, zero biases.

        As in tensor2tensor, the paper's own code.
        """
        for name, parameter in self.named_parameters():
            if "norm" in name:
                continue
            if parameter.dim() < 2:
                nn.init.zeros_(parameter)
            elif "table" in name or name == "output.weight":
                nn.init.normal_(parameter, std=self.config.width**-0.5)
            elif "projection" in name:
                for part in parameter.data.chunk(3):
                    nn.init.xavier_uniform_(part)
            else:
                nn.init.xavier_uniform_(parameter)


def sinusoids(first: int, count: int, width: int) -> Tensor:
    """PE(p, 2i) = sin(p / 10000^(2i/D)), PE(p, 2i+1) = cos(...) (section 3.5): (count, D), in float64."""
    positions = torch.arange(first, first + count, dtype=torch.float64)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000) / width))
    return torch.stack([torch.sin(positions * rates), torch.cos(positions * rates)], -1).flatten(1)
