"""Convolutional sequence to sequence learning (Gehring et al. 2017): the third way to read a sequence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.config.model import ConvolutionConfig
from nmt.models.dropout import Dropout, drop_words
from nmt.models.protocol import EncoderDecoder, Tables, padding_mask, sentences_of
from nmt.models.softmax import softmax

# B sentences, S source positions, T target positions, R = B * beam rows, E embedding, H hidden, W positions a kernel sees
# V vocabulary

_HALF = math.sqrt(0.5)  # keeps the variance when two terms are added (section 3.4)


@dataclass(frozen=True)
class ConvolutionMemory:
    """The encoded source."""

    keys: Tensor
    """(B, S, E) the encoder's outputs z."""
    values: Tensor
    """(B, S, E) z plus the input embeddings, so that attention can also read single words."""
    bias: Tensor
    """(B, 1, S) zero at real positions, -inf at padding."""
    scale: Tensor
    """(B, 1, 1) m sqrt(1 / m) for source length m; undoes the shrinking of the variance by a mean over m positions."""

    def select(self, sentences: Tensor) -> ConvolutionMemory:
        """Returns the memory of the given sentences."""
        parts = (self.keys, self.values, self.bias, self.scale)
        return ConvolutionMemory(*(part.index_select(0, sentences) for part in parts))


@dataclass(frozen=True)
class ConvolutionState:
    """R rows in the middle of decoding."""

    memory: ConvolutionMemory
    windows: tuple[Tensor, ...]
    """The last W - 1 inputs of each layer, (R, W - 1, H)."""
    position: int
    beam: int


class ConvolutionEmbedding(nn.Module):
    """e = (w_1 + p_1, ..., w_m + p_m): embeddings of words and of their positions (section 3.1)."""

    def __init__(self, table: nn.Embedding, config: ConvolutionConfig) -> None:
        super().__init__()
        self.table = table
        self.positions = nn.Embedding(config.positions, config.embedding)
        self.dropout, self.word_dropout = Dropout(config.dropout), config.word_dropout

    def forward(self, tokens: Tensor, first: int = 0) -> Tensor:
        """Embeds tokens (B, T) at the positions from `first` on: (B, T, E). Later positions share the last embedding."""
        places = torch.arange(first, first + tokens.shape[1], device=tokens.device)
        words = drop_words(self.table(tokens), self.word_dropout if self.training else 0.0)
        return self.dropout(words + self.positions(places.clamp_(max=self.positions.num_embeddings - 1)))

    if TYPE_CHECKING:
        __call__ = forward


class GatedConvolution(nn.Module):
    """v([A B]) = A * sigmoid(B) over windows of W positions: a convolution and a gated linear unit (section 3.2)."""

    def __init__(self, config: ConvolutionConfig) -> None:
        super().__init__()
        self.width = config.kernel
        self.linear = nn.Linear(config.kernel * config.hidden, 2 * config.hidden)
        self.dropout = Dropout(config.dropout)

    def forward(self, padded: Tensor) -> Tensor:
        """Maps inputs (B, T + W - 1, H), padded at the ends, to (B, T, H) in one product over all windows."""
        windows = self.dropout(padded).unfold(1, self.width, 1)  # (B, T, H, W)
        return F.glu(self.linear(windows.transpose(2, 3).flatten(2)), -1)

    if TYPE_CHECKING:
        __call__ = forward


class SourceAttention(nn.Module):
    """Attends from a decoder layer to the source: d = W h + b + g, a = softmax(d . z), c = sum a (z + e) (equations 1, 2)."""

    def __init__(self, config: ConvolutionConfig) -> None:
        super().__init__()
        self.query = nn.Linear(config.hidden, config.embedding)
        self.output = nn.Linear(config.embedding, config.hidden)

    def forward(self, states: Tensor, embedded: Tensor, memory: ConvolutionMemory) -> tuple[Tensor, Tensor]:
        """Returns the context (B, T, H) and weights (B, T, S) for states (B, T, H) and embeddings (B, T, E) of a target."""
        query = (self.query(states) + embedded) * _HALF  # (B, T, E)
        weights = softmax(torch.bmm(query, memory.keys.transpose(1, 2)) + memory.bias)  # (B, T, S)
        context = torch.bmm(weights, memory.values) * memory.scale
        return self.output(context), weights

    if TYPE_CHECKING:
        __call__ = forward


class ConvolutionDecoderLayer(nn.Module):
    """A causal convolution followed by attention, in a residual connection (section 3.3)."""

    def __init__(self, config: ConvolutionConfig) -> None:
        super().__init__()
        self.convolution, self.attention = GatedConvolution(config), SourceAttention(config)

    def forward(
        self, states: Tensor, before: Tensor, embedded: Tensor, memory: ConvolutionMemory
    ) -> tuple[Tensor, Tensor]:
        """Returns new states (B, T, H) and attention weights.

        `states` are (B, T, H), `before` the W - 1 states that precede them, `embedded` the target embeddings (B, T, E).
        """
        convolved = self.convolution(torch.cat([before, states], 1))
        context, weights = self.attention(convolved, embedded, memory)
        return ((convolved + context) * _HALF + states) * _HALF, weights

    if TYPE_CHECKING:
        __call__ = forward


class Convolution(EncoderDecoder[ConvolutionMemory, ConvolutionState]):
    """Stacks of gated convolutions, with attention in every layer of the decoder."""

    def __init__(self, config: ConvolutionConfig, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        self.config = config
        target = nn.Embedding(target_vocabulary, config.embedding)
        source = target if config.tie == "all" else nn.Embedding(source_vocabulary, config.embedding)
        self.source_embedding, self.target_embedding = (
            ConvolutionEmbedding(source, config),
            ConvolutionEmbedding(target, config),
        )
        self.source_input = nn.Linear(config.embedding, config.hidden)
        self.target_input = nn.Linear(config.embedding, config.hidden)
        self.encoder_layers = nn.ModuleList(GatedConvolution(config) for _ in range(config.encoder_layers))
        self.decoder_layers = nn.ModuleList(ConvolutionDecoderLayer(config) for _ in range(config.decoder_layers))
        self.source_output = nn.Linear(config.hidden, config.embedding)
        self.target_output = nn.Linear(config.hidden, config.embedding)
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(config.embedding, target_vocabulary)
        if config.tie != "none":
            self.output.weight = target.weight
        self._initialise()

    @property
    def receptive_field(self) -> tuple[int, int]:
        """How many source positions an encoder output depends on, and how many target positions a decoder output does."""
        reach = self.config.kernel - 1
        return 1 + self.config.encoder_layers * reach, 1 + self.config.decoder_layers * reach

    def encode(self, source: Tensor, lengths: Tensor) -> ConvolutionMemory:
        """See `Seq2Seq.encode`."""
        mask = padding_mask(lengths, source.shape[1], source.device)  # (B, S)
        real = mask[:, :, None]
        embedded = self.source_embedding(source)  # (B, S, E)
        states = self.source_input(embedded) * real  # padding is zero, as beyond the ends
        reach = self.config.kernel // 2
        for layer in self._encoder:
            padded = F.pad(states, (0, 0, reach, reach))
            states = (layer(padded) + states) * _HALF * real
        keys = _scale_gradient(self.source_output(states), 1 / (2 * self.config.decoder_layers))
        bias = torch.zeros(mask.shape, dtype=keys.dtype, device=keys.device).masked_fill(~mask, -torch.inf)
        scale = lengths.to(keys.device, keys.dtype).sqrt()[:, None, None]
        return ConvolutionMemory(keys, (keys + embedded) * _HALF, bias[:, None], scale)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """See `EncoderDecoder.forward`."""
        return self._decode(self.encode(source, lengths), target)[0]

    if TYPE_CHECKING:
        __call__ = forward

    def attention_maps(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """See `EncoderDecoder.attention_maps`; each layer has one head."""
        return torch.stack(self._decode(self.encode(source, lengths), target)[1], 1)[:, :, None]

    def start(self, memory: ConvolutionMemory, beam: int) -> ConvolutionState:
        """See `Seq2Seq.start`."""
        rows, reach = len(memory.keys) * beam, self.config.kernel - 1
        empty = memory.keys.new_zeros((rows, reach, self.config.hidden))
        return ConvolutionState(memory, (empty,) * self.config.decoder_layers, 0, beam)

    def step(self, state: ConvolutionState, tokens: Tensor) -> tuple[Tensor, ConvolutionState]:
        """See `Seq2Seq.step`; in search compiled kernels may take its place, see `nmt.fast.inference`."""
        embedded = self.target_embedding(tokens[:, None], state.position)  # (R, 1, E)
        states = self.target_input(embedded)
        windows: list[Tensor] = []
        for layer, before in zip(self.decoder, state.windows, strict=True):
            windows.append(torch.cat([before, states], 1)[:, 1:])
            states = self.step_layer(layer, states, before, embedded, state)
        logits = self.output(self.target_output(states)).squeeze(1)  # (R, V)
        return logits, replace(state, windows=tuple(windows), position=state.position + 1)

    def reorder(self, state: ConvolutionState, rows: Tensor, beam: int) -> ConvolutionState:
        """See `Seq2Seq.reorder`."""
        memory = state.memory
        if len(rows) != len(memory.keys) * beam:
            memory = memory.select(sentences_of(rows, state.beam, beam))
        windows = tuple(window.index_select(0, rows) for window in state.windows)
        return ConvolutionState(memory, windows, state.position, beam)

    def _decode(self, memory: ConvolutionMemory, target: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Returns hidden states (B, T, E), ready for `output`, and the attention (B, T, S) of each layer."""
        embedded = self.target_embedding(target)  # (B, T, E)
        states = self.target_input(embedded)  # (B, T, H)
        weights: list[Tensor] = []
        before = states.new_zeros((len(states), self.config.kernel - 1, self.config.hidden))
        for layer in self.decoder:
            states, attended = layer(states, before, embedded, memory)
            weights.append(attended)
        return self.dropout(self.target_output(states)), weights

    def step_layer(
        self, layer: ConvolutionDecoderLayer, states: Tensor, before: Tensor, embedded: Tensor, state: ConvolutionState
    ) -> Tensor:
        """Decodes one position of R rows. The hypotheses of a sentence attend to its memory as target positions do."""
        convolved = layer.convolution(torch.cat([before, states], 1))  # (R, 1, H)
        states_of, words_of = (part.squeeze(1).unflatten(0, (-1, state.beam)) for part in (convolved, embedded))
        context, _ = layer.attention(states_of, words_of, state.memory)  # (B, beam, H)
        return ((convolved + context.flatten(0, 1)[:, None]) * _HALF + states) * _HALF

    def repeated_parts(self) -> Iterable[nn.Module]:
        """See `EncoderDecoder.repeated_parts`."""
        yield from self.encoder_layers
        yield from self.decoder_layers

    @property
    def _encoder(self) -> list[GatedConvolution]:
        return [layer for layer in self.encoder_layers if isinstance(layer, GatedConvolution)]

    @property
    def decoder(self) -> list[ConvolutionDecoderLayer]:
        """The decoder's layers, typed as what they are."""
        return [layer for layer in self.decoder_layers if isinstance(layer, ConvolutionDecoderLayer)]

    def tables(self) -> Tables:
        """See `EncoderDecoder.tables`."""
        target = [self.target_embedding.table.weight, self.output.weight, self.output.bias]
        return Tables([self.source_embedding.table.weight], target)

    def encoder_parts(self) -> Iterable[nn.Module]:
        """See `EncoderDecoder.encoder_parts`."""
        yield from self.encoder_layers

    def _initialise(self) -> None:
        """Draws weights so that activations keep their variance through all layers (section 3.5).

        The variance is 4 p / n before a gate and 1 / n elsewhere, with p the share that dropout keeps and n the inputs of a
        unit. Embeddings are N(0, 0.1). The paper has p / n for the layer behind the dropout of embeddings and for the output.
        """
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.1)
            elif isinstance(module, nn.Linear) and module is not self.output:
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, GatedConvolution):
                kept = 1 - self.config.dropout
                nn.init.normal_(module.linear.weight, std=math.sqrt(4 * kept / module.linear.in_features))
        if self.config.tie == "none":
            nn.init.normal_(self.output.weight, std=self.config.embedding**-0.5)
        nn.init.zeros_(self.output.bias)


def _scale_gradient(states: Tensor, factor: float) -> Tensor:
    """Returns the states unchanged and multiplies their gradient: every attention adds one to the encoder (section 3.4)."""
    if not states.requires_grad:
        return states
    return states * factor + states.detach() * (1 - factor)
