"""Recurrent encoder-decoders, with one fixed vector between the two halves or with attention."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nmt.config.model import RnnConfig
from nmt.errors import ConfigError
from nmt.models.dropout import Dropout, drop_words
from nmt.models.protocol import EncoderDecoder, Forced, Tables, is_among, padding_mask, sentences_of
from nmt.models.rnn.decoder import AttentionDecoder, BottleneckDecoder, Readout
from nmt.models.rnn.encoder import Encoder, FixedVector
from nmt.models.rnn.look import CurrentStateDecoder
from nmt.models.rnn.state import Carry, RnnMemory, RnnState

# B sentences, S source positions, T target positions, R = B * beam rows, E embedding, H hidden, L layers, V vocabulary
# C width of the encoder's states (2H when it reads both ways), G gates of the recurrent unit (GRU 3, LSTM 4)


class RnnSeq2Seq(EncoderDecoder[RnnMemory, RnnState]):
    """Encoder, bridge, decoder and readout; attention changes only the decoder."""

    def __init__(self, config: RnnConfig, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.target_embedding = nn.Embedding(target_vocabulary, config.embedding)
        shared = config.tie == "all"
        self.source_embedding = self.target_embedding if shared else nn.Embedding(source_vocabulary, config.embedding)
        self.dropout = Dropout(config.dropout)
        self.encoder = Encoder(config)
        self.fixed_vector = FixedVector(config, self.encoder) if config.attention == "none" else None
        self.decoder = _make_decoder(config, self.encoder.width)
        summary = self.fixed_vector.width if self.fixed_vector else self.encoder.summary_width
        self.bridge = nn.Linear(summary, config.layers * config.hidden * self._cell_states)
        self.bridge.requires_grad_(config.bridge == "dense")  # a bridge of zeros has nothing to learn
        self.readout = Readout(config, self.decoder.context_width)
        self.output = nn.Linear(config.embedding, target_vocabulary)
        if config.tie != "none":
            self.output.weight = self.target_embedding.weight
        self._initialise()

    def encode(self, source: Tensor, lengths: Tensor) -> RnnMemory:
        """See `Seq2Seq.encode`; the source may also be vectors (B, S, E) in place of embeddings."""
        vectors = source.is_floating_point()
        embedded = self.dropout(source) if vectors else self.embed(self.source_embedding, source)  # (B, S, E)
        values, summary = self.encoder(embedded, lengths)
        if self.fixed_vector is not None:
            summary = self.fixed_vector(summary)
        mask = padding_mask(lengths, embedded.shape[1], embedded.device)
        return RnnMemory(summary, self.decoder.values(values), self.decoder.keys(values), mask)

    def forced(self, source: Tensor, lengths: Tensor, target: Tensor) -> Forced:
        """See `EncoderDecoder.forced`."""
        return self.decode(self.encode(source, lengths), target)

    def decode(self, memory: RnnMemory, target: Tensor) -> Forced:
        """Reads a target (B, T) with the encoded source before it: teacher forcing."""
        embedded = self.embed(self.target_embedding, target)  # (B, T, E)
        decoded = self.decoder(embedded, memory, self.first(memory))
        drawn = torch.cat(list(decoded.drawn), 1) if decoded.drawn else None
        return Forced(self.readout(embedded, decoded), drawn)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """See `EncoderDecoder.forward`."""
        return self.forced(source, lengths, target).states

    if TYPE_CHECKING:
        __call__ = forward

    def attention_maps(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """See `EncoderDecoder.attention_maps`: one layer, with its heads averaged."""
        return self.attention_to(self.encode(source, lengths), target)

    def attention_to(self, memory: RnnMemory, target: Tensor) -> Tensor:
        """Returns attention (B, 1, 1, T, S) to an encoded source; see `attention_maps` for errors."""
        if self.fixed_vector is not None:
            raise ConfigError("a model with one fixed vector between encoder and decoder has no attention to show")
        decoded = self.decoder(self.embed(self.target_embedding, target), memory, self.first(memory))
        return torch.cat(list(decoded.weights), 1)[:, None, None]

    def start(self, memory: RnnMemory, beam: int) -> RnnState:
        """See `Seq2Seq.start`."""
        return RnnState(memory, self.first(memory).repeated(beam), beam)

    def step(self, state: RnnState, tokens: Tensor) -> tuple[Tensor, RnnState]:
        """See `Seq2Seq.step`; in search compiled kernels may take its place, see `nmt.fast.inference`."""
        embedded = self.target_embedding(tokens)[:, None]  # (R, 1, E)
        decoded = self.decoder(embedded, state.memory, state.carry)
        logits = self.output(self.readout(embedded, decoded)).squeeze(1)  # (R, V)
        return logits, replace(state, carry=decoded.carry)

    def reorder(self, state: RnnState, rows: Tensor, beam: int) -> RnnState:
        """See `Seq2Seq.reorder`."""
        memory = state.memory
        if len(rows) != len(memory.values) * beam:
            memory = memory.select(sentences_of(rows, state.beam, beam))
        return RnnState(memory, state.carry.select(rows), beam)

    def embed(self, table: nn.Embedding, tokens: Tensor) -> Tensor:
        """Embeds tokens (B, T) to (B, T, E), with dropout while training."""
        return self.dropout(drop_words(table(tokens), self.config.word_dropout if self.training else 0.0))

    def compile_steps(self) -> None:
        """See `EncoderDecoder.compile_steps`: compiles the attention decoder's step; torch's own kernels run the others."""
        if isinstance(self.decoder, AttentionDecoder):
            self.decoder.position = torch.compile(self.decoder.position, dynamic=True)  # type: ignore[method-assign]

    @property
    def _cell_states(self) -> int:
        return 2 if self.config.cell == "lstm" else 1

    def first(self, memory: RnnMemory) -> Carry:
        """Returns the carry with s_0 = tanh(W summary) of each layer (Bahdanau et al. 2015, appendix A.2.2), each (L, B, H)."""
        flat = torch.tanh(self.bridge(memory.summary))  # (B, parts * L * H)
        if self.config.bridge == "zero":
            flat = torch.zeros_like(flat)
        hidden = (
            flat.unflatten(1, (self._cell_states, self.config.layers, -1)).permute(1, 2, 0, 3).contiguous().unbind(0)
        )
        return self.decoder.first(memory, hidden)

    def tables(self) -> Tables:
        """See `EncoderDecoder.tables`."""
        target = [self.target_embedding.weight, self.output.weight, self.output.bias]
        return Tables([self.source_embedding.weight], target)

    def encoder_parts(self) -> Iterable[nn.Module]:
        """See `EncoderDecoder.encoder_parts`."""
        yield self.encoder

    def _initialise(self) -> None:
        """Draws orthogonal recurrent matrices (Saxe et al. 2014), Glorot elsewhere, small embeddings, zero biases.

        The forget gate of an LSTM starts open, with bias 1 (Jozefowicz et al. 2015).
        """
        hidden, units = self.config.hidden, [module for module in self.modules() if isinstance(module, nn.RNNBase)]
        inner = [weights for unit in units for weights in unit.all_weights]  # input and recurrent matrix, their biases
        recurrent: list[Tensor] = [part[1] for part in inner]
        opened: list[Tensor] = [part[2] for part in inner]
        if isinstance(self.decoder, AttentionDecoder):
            recurrent.append(self.decoder.recurrent.weight)
            opened.append(self.decoder.input.bias)
        embeddings = [self.source_embedding.weight, self.target_embedding.weight]
        for parameter in self.parameters():
            if parameter.dim() < 2:
                nn.init.zeros_(parameter)
                if self.config.cell == "lstm" and is_among(parameter, opened):
                    nn.init.ones_(parameter.data[hidden : 2 * hidden])
            elif is_among(parameter, recurrent):
                for gate in parameter.data.split(hidden):
                    nn.init.orthogonal_(gate)
            elif is_among(parameter, embeddings):
                nn.init.normal_(parameter, std=self.config.embedding**-0.5)
            else:
                nn.init.xavier_uniform_(parameter)


def _make_decoder(config: RnnConfig, width: int) -> BottleneckDecoder | AttentionDecoder | CurrentStateDecoder:
    """Makes the decoder for encoder states of width `width`."""
    if config.attention == "none":
        return BottleneckDecoder(config)
    kind = AttentionDecoder if config.query == "previous" else CurrentStateDecoder
    return kind(config, width, config.attention)
