"""The Transformer (Vaswani et al. 2017), in the order of the paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nmt.config.model import TransformerConfig
from nmt.models.protocol import EncoderDecoder, Forced, Tables, is_among, padding_mask, sentences_of
from nmt.models.transformer.attention import CrossAttention, KeyValue, SelfAttention, mask_bias
from nmt.models.transformer.layers import DecoderLayer, EncoderLayer, make_norm
from nmt.models.transformer.positions import TransformerEmbedding, distance_bias

# B sentences, S source positions, T target positions, R = B * beam rows, D width, H heads, K width of a head, V vocabulary


@dataclass(frozen=True)
class TransformerMemory:
    """The encoded source."""

    states: Tensor
    """(B, S, D)"""
    lengths: Tensor
    """(B,) number of real positions."""
    bias: Tensor | None
    """(B * H, 1, S) zero at real positions, -inf at padding; None: no padding."""


@dataclass(frozen=True)
class Sources:
    """The encoded source as each decoder layer sees it."""

    layers: Sequence[KeyValue]
    """Keys and values of each layer, (B * H, S, K)."""
    bias: Tensor | None
    """The bias of the memory."""
    heads: int

    def select(self, sentences: Tensor) -> Sources:
        """Selects the given sentences."""
        bias = self.bias
        if bias is not None:
            bias = bias.unflatten(0, (-1, self.heads)).index_select(0, sentences).flatten(0, 1)
        return replace(self, layers=[layer.select(sentences, self.heads) for layer in self.layers], bias=bias)


@dataclass(frozen=True)
class TransformerState:
    """R rows in the middle of decoding."""

    sources: Sources
    past: Sequence[KeyValue]
    """Keys and values of the positions so far in each decoder layer, (R * H, T, K)."""
    position: int
    beam: int


class Transformer(EncoderDecoder[TransformerMemory, TransformerState]):
    """Encoder and decoder stacks over shared or separate embeddings (section 3.1 and figure 1)."""

    def __init__(self, config: TransformerConfig, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        self.config = config
        target = nn.Embedding(target_vocabulary, config.width)
        source = target if config.tie == "all" else nn.Embedding(source_vocabulary, config.width)
        self.source_embedding = TransformerEmbedding(source, config.positions, config.dropout, config.word_dropout)
        self.target_embedding = TransformerEmbedding(target, config.positions, config.dropout, config.word_dropout)
        self.encoder_layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.decoder_layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        pre = config.norm == "pre"  # post-norm states are normalised already
        self.encoder_norm = make_norm(config) if pre else nn.Identity()
        self.decoder_norm = make_norm(config) if pre else nn.Identity()
        self.output = nn.Linear(config.width, target_vocabulary)
        if config.tie != "none":
            self.output.weight = target.weight
        self._initialise()

    def encode(self, source: Tensor, lengths: Tensor) -> TransformerMemory:
        """See `Seq2Seq.encode`; the source may also be vectors (B, S, D) in place of embeddings."""
        embedding = self.source_embedding
        states = embedding.placed(source) if source.is_floating_point() else embedding(source)  # (B, S, D)
        bias = None
        if int(lengths.min()) < states.shape[1]:
            mask = padding_mask(lengths, states.shape[1], states.device)[:, None]
            bias = mask_bias(mask, self.config.heads, states.dtype)
        near = self._nearness(states, bias)
        for layer in self.encoder_layers:
            states = recomputed(layer, states, near) if self._recomputes else layer(states, near)
        return TransformerMemory(self.encoder_norm(states), lengths, bias)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """See `EncoderDecoder.forward`."""
        return self.decode(self.encode(source, lengths), target).states

    if TYPE_CHECKING:
        __call__ = forward

    def decode(self, memory: TransformerMemory, target: Tensor) -> Forced:
        """Reads a target (B, T) with the encoded source before it: teacher forcing."""
        sources = self.sources(memory)
        states = self.target_embedding(target)  # (B, T, D)
        causal = self._causal(states)
        for layer, keys_values in zip(self.decoder, sources.layers, strict=True):
            inputs = (states, keys_values, sources.bias, causal)
            states = recomputed(layer, *inputs) if self._recomputes else layer(*inputs)
        return Forced(self.decoder_norm(states))

    def attention_maps(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """See `EncoderDecoder.attention_maps`."""
        return self.attention_to(self.encode(source, lengths), target)

    def attention_to(self, memory: TransformerMemory, target: Tensor) -> Tensor:
        """Returns attention (B, L, H, T, S) to an encoded source."""
        sources = self.sources(memory)
        states = self.target_embedding(target)  # (B, T, D)
        causal, maps = self._causal(states), []
        for layer, keys_values in zip(self.decoder, sources.layers, strict=True):
            weights = layer.source_weights(states, keys_values, sources.bias, causal)  # (B * H, T, S)
            maps.append(weights.unflatten(0, (-1, self.config.heads)))
            states = layer(states, keys_values, sources.bias, causal)
        return torch.stack(maps, 1)

    def aligning_layer(self, shifted: bool = False) -> int:
        """Last but one for the predicted token (Garg et al. 2019, section 4.1), middle for the fed one (Chen et al. 2020)."""
        layers = self.config.decoder_layers
        return max(0, layers // 2 - 1 if shifted else layers - 2)

    def start(self, memory: TransformerMemory, beam: int) -> TransformerState:
        """See `Seq2Seq.start`."""
        sources = self.sources(memory)
        rows = len(memory.states) * beam * self.config.heads
        nothing = memory.states.new_zeros((rows, 0, self.config.width // self.config.heads))
        return TransformerState(sources, [KeyValue(nothing, nothing)] * self.config.decoder_layers, 0, beam)

    def step(self, state: TransformerState, tokens: Tensor) -> tuple[Tensor, TransformerState]:
        """See `Seq2Seq.step`; search has faster ones, see `nmt.fast.inference`."""
        sources, past, position = state.sources, list[KeyValue](), state.position
        near = self._distances_back(position, tokens) if self.config.positions == "alibi" else None
        states = self.target_embedding(tokens.view(-1, state.beam), position, together=True)  # (B, beam, D)
        for layer, keys_values, before in zip(self.decoder, sources.layers, state.past, strict=True):
            states, seen = layer.step(states, keys_values, sources.bias, before, position, near)
            past.append(seen)
        logits = self.output(self.decoder_norm(states)).flatten(0, 1)  # (R, V)
        return logits, TransformerState(sources, past, position + 1, state.beam)

    def reorder(self, state: TransformerState, rows: Tensor, beam: int) -> TransformerState:
        """See `Seq2Seq.reorder`."""
        sources, heads = state.sources, self.config.heads
        if len(rows) * state.beam != len(state.past[0].key) // heads * beam:
            sources = sources.select(sentences_of(rows, state.beam, beam))
        return TransformerState(sources, [part.select(rows, heads) for part in state.past], state.position, beam)

    def repeated_parts(self) -> Iterable[nn.Module]:
        """See `EncoderDecoder.repeated_parts`. Keys and values of the source are made before the layer that attends to them."""
        yield from (layer.cross_attention.memory for layer in self.decoder)
        yield from self.encoder_layers
        yield from self.decoder_layers

    def sources(self, memory: TransformerMemory) -> Sources:
        """Projects the source to keys and values for each layer, once for all target positions."""
        layers = [layer.cross_attention.project_memory(memory.states) for layer in self.decoder]
        return Sources(layers, memory.bias, self.config.heads)

    def _nearness(self, states: Tensor, bias: Tensor | None) -> Tensor | None:
        """Returns the bias of the encoder's self-attention: padding, plus with ALiBi the distances (B * H, S, S)."""
        if self.config.positions != "alibi":
            return bias
        places = torch.arange(states.shape[1], device=states.device)
        distances = distance_bias(places, places, self.config.heads).to(states.dtype).repeat(len(states), 1, 1)
        return distances if bias is None else distances + bias

    def _causal(self, states: Tensor) -> Tensor | None:
        """Returns the causal bias of the decoder's self-attention with ALiBi (B * H, T, T), and None without ALiBi."""
        distances = self._nearness(states, None)
        return None if distances is None else distances + torch.full_like(distances[:1], -torch.inf).triu_(1)

    def _distances_back(self, position: int, tokens: Tensor) -> Tensor:
        """ALiBi's bias (R * H, 1, T + 1) of a position against itself and those before, for R rows."""
        places = torch.arange(position + 1, device=tokens.device)
        bias = distance_bias(places[-1:], places, self.config.heads)  # (H, 1, T + 1)
        return bias.to(self.target_embedding.table.weight.dtype).repeat(len(tokens), 1, 1)

    @property
    def _recomputes(self) -> bool:
        """Whether a layer's activations are recomputed in the backward pass instead of kept (Chen et al. 2016)."""
        return self.recompute and self.training

    @property
    def encoder(self) -> list[EncoderLayer]:
        """The encoder's layers, typed as `EncoderLayer`."""
        return [layer for layer in self.encoder_layers if isinstance(layer, EncoderLayer)]

    @property
    def decoder(self) -> list[DecoderLayer]:
        """The decoder's layers, typed as `DecoderLayer`."""
        return [layer for layer in self.decoder_layers if isinstance(layer, DecoderLayer)]

    def tables(self) -> Tables:
        """See `EncoderDecoder.tables`."""
        target = [self.target_embedding.table.weight, self.output.weight, self.output.bias]
        return Tables([self.source_embedding.table.weight], target)

    def encoder_parts(self) -> Iterable[nn.Module]:
        """See `EncoderDecoder.encoder_parts`."""
        yield from self.encoder_layers

    def _initialise(self) -> None:
        """Draws matrices by Glorot (queries, keys, values one by one) and embeddings from N(0, 1/D); biases are zero.

        This follows tensor2tensor, the paper's code.
        """
        embeddings, joined, norms = [self.output.weight], list[Tensor](), list[Tensor]()
        for module in self.modules():
            match module:
                case nn.LayerNorm() | nn.RMSNorm():
                    norms += module.parameters()
                case nn.Embedding():
                    embeddings.append(module.weight)
                case SelfAttention():
                    joined.append(module.projection.weight)
                case CrossAttention():
                    joined.append(module.memory.weight)
                case _:
                    pass
        for parameter in self.parameters():
            if is_among(parameter, norms):
                continue
            if parameter.dim() < 2:
                nn.init.zeros_(parameter)
            elif is_among(parameter, embeddings):
                nn.init.normal_(parameter, std=self.config.width**-0.5)
            else:  # each matrix of a joined parameter is initialised by itself
                for part in parameter.data.split(self.config.width) if is_among(parameter, joined) else (parameter,):
                    nn.init.xavier_uniform_(part)


def recomputed(layer: nn.Module, *inputs: Tensor | KeyValue | None) -> Tensor:
    """Runs a layer, and runs it again in the backward pass with the same dropout."""
    states: Tensor = checkpoint(layer, *inputs, use_reentrant=False)
    return states
