"""Recurrent encoder-decoders: one fixed vector as the only bridge, then the same with attention as the delta."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nmt.config.model import RnnConfig, ScoreName
from nmt.errors import ConfigError
from nmt.models.dropout import Dropout, drop_words
from nmt.models.protocol import EncoderDecoder, Forced, Tables, is_among, padding_mask, sentences_of
from nmt.models.rnn.look import AttendingDecoder, CurrentStateDecoder, Look
from nmt.models.rnn.state import Carry, Decoded, Hidden, RnnMemory, RnnState, recurrent, run

# B sentences, S source positions, T target positions, R = B * beam rows, E embedding, H hidden, L layers, V vocabulary
# C width of the encoder's states (2H when it reads both ways), G gates of the recurrent unit (GRU 3, LSTM 4)


class Encoder(nn.Module):
    """Reads the source left to right, and right to left if bidirectional (Bahdanau et al. 2015, section 3.2).

    Each direction runs over the padded batch in one call; the right-to-left one over each sentence turned round within its
    length, so that padding comes last and never reaches a real state.
    """

    def __init__(self, config: RnnConfig) -> None:
        super().__init__()
        self.width = config.hidden * (2 if config.bidirectional else 1)
        self.reverse_source, self.summarise_max = config.reverse_source, config.summary == "max_and_last"
        self.dropout = Dropout(config.dropout)
        widths = [config.embedding] + [self.width] * (config.layers - 1)
        self.forwards = nn.ModuleList(recurrent(config, width, 1) for width in widths)
        self.backwards = nn.ModuleList(recurrent(config, width, 1) for width in widths if config.bidirectional)
        self.summary_width = self.width * config.layers + (self.width if self.summarise_max else 0)

    def forward(self, embedded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, S, C) and summary (B, M) of embedded sources (B, S, E)."""
        lengths = lengths.to(embedded.device)
        turn = _reversal(lengths, embedded.shape[1])  # (B, S)
        states = _gather(embedded, turn) if self.reverse_source else embedded
        last = (lengths - 1)[:, None]  # (B, 1)
        finals: list[Tensor] = []
        for index, reader in enumerate(self.forwards):
            inputs = self.dropout(states) if index else states
            outputs = [run(reader, inputs)[0]]  # (B, S, H)
            finals.append(_gather(outputs[0], last).squeeze(1))  # (B, H)
            if self.backwards:
                turned = run(self.backwards[index], _gather(inputs, turn))[0]
                finals.append(_gather(turned, last).squeeze(1))
                outputs.append(_gather(turned, turn))
            states = torch.cat(outputs, -1)  # (B, S, C)
        if self.reverse_source:
            states = _gather(states, turn)  # each beside its word again
        if self.summarise_max:
            real = padding_mask(lengths, states.shape[1], states.device)[:, :, None]
            finals.append(states.masked_fill(~real, -torch.inf).amax(1))  # (B, C)
        return states, torch.cat(finals, -1)

    if TYPE_CHECKING:
        __call__ = forward


class FixedVector(nn.Module):
    """c = tanh(V h): all that the decoder will ever know of the source (Cho et al. 2014, appendix A.1)."""

    def __init__(self, config: RnnConfig, encoder: Encoder) -> None:
        super().__init__()
        self.width = config.hidden
        self.linear = nn.Linear(encoder.summary_width, config.hidden)

    def forward(self, summary: Tensor) -> Tensor:
        """(B, M) to (B, H)."""
        return torch.tanh(self.linear(summary))

    if TYPE_CHECKING:
        __call__ = forward


class BottleneckDecoder(nn.Module):
    """A language model given one fixed vector: in its first state (Sutskever et al. 2014) or every step (Cho et al. 2014)."""

    def __init__(self, config: RnnConfig) -> None:
        super().__init__()
        self.every_step = config.feed_summary == "every"
        self.context_width = config.hidden
        width = config.embedding + (config.hidden if self.every_step else 0)
        self.rnn = recurrent(config, width, config.layers)

    def keys(self, values: Tensor) -> Tensor:
        """Nothing to score: the encoder's states stay behind."""
        return values

    def values(self, values: Tensor) -> Tensor:
        """As they are."""
        return values

    def first(self, _memory: RnnMemory, hidden: Hidden) -> Carry:
        """The recurrent state alone."""
        return Carry(hidden)

    def forward(self, embedded: Tensor, memory: RnnMemory, carry: Carry) -> Decoded:
        """Decodes embedded tokens (R, T, E), all positions in one call."""
        rows, positions = embedded.shape[:2]
        summary = memory.summary.repeat_interleave(rows // len(memory.summary), 0)[:, None]  # (R, 1, M)
        inputs = torch.cat([embedded, summary.expand(-1, positions, -1)], -1) if self.every_step else embedded
        states, hidden = run(self.rnn, inputs, carry.hidden)
        return Decoded(states, summary, Carry(hidden))

    if TYPE_CHECKING:
        __call__ = forward


class AttentionDecoder(AttendingDecoder):
    """The same decoder with a context of its own for every word: RNNsearch (Bahdanau et al. 2015, section 3.1).

    alpha_ij = softmax_j e(s_{i-1}, h_j)    (equation 6)
    c_i      = sum_j alpha_ij h_j           (equation 5)
    s_i      = f(s_{i-1}, y_{i-1}, c_i)     (section 3.1)

    The context feeds the recurrence of the lowest layer; upper layers run over its states afterwards. Whatever does not
    depend on the recurrence (keys, input gates, readout) is computed outside the loop, for all positions at once.
    """

    replacement: Callable[[AttentionDecoder, Tensor, RnnMemory, Carry], Decoded | None] | None = None
    """Decodes in place of `forward` where it can, and finds the same: `nmt.fast.gpu.attending` on a GPU."""

    def __init__(self, config: RnnConfig, width: int, score: ScoreName) -> None:
        super().__init__(config, width, score)
        self.cell = config.cell
        gates = {"gru": 3, "lstm": 4}[config.cell] * config.hidden
        self.input = nn.Linear(config.embedding, gates)
        self.context = nn.Linear(width, gates, bias=False)
        self.recurrent = nn.Linear(config.hidden, gates)
        self.dropout = Dropout(config.dropout)
        self.upper = recurrent(config, config.hidden, config.layers - 1) if config.layers > 1 else None

    def forward(self, embedded: Tensor, memory: RnnMemory, carry: Carry) -> Decoded:
        """Decodes embedded tokens (R, T, E), position by position."""
        if self.replacement is not None and (decoded := self.replacement(self, embedded, memory, carry)) is not None:
            return decoded
        bottom = tuple(part[0] for part in carry.hidden)  # each (R, H)
        bias, coverage, last = memory.bias, carry.coverage, carry.position + embedded.shape[1]
        places = torch.arange(carry.position, last, device=embedded.device).split(1)
        states: list[Tensor] = []
        looks: list[Look] = []
        for gates, place in zip(self.input(embedded).unbind(1), places, strict=True):  # (R, G * H)
            look, bottom = self.position(gates, bottom, memory, bias, place, coverage)
            if coverage is not None:
                coverage = coverage + look.weights.flatten(0, 1)
            states.append(bottom[0])
            looks.append(look)
        contexts = torch.stack([look.context.flatten(0, 1) for look in looks], 1)  # (R, T, C)
        top, after = self.above(torch.stack(states, 1), bottom, carry)
        drawn = [look.drawn for look in looks if look.drawn is not None]
        return Decoded(top, contexts, Carry(after, last, coverage), [look.weights for look in looks], drawn)

    if TYPE_CHECKING:
        __call__ = forward

    def position(
        self, gates: Tensor, state: Hidden, memory: RnnMemory, bias: Tensor, place: Tensor, coverage: Tensor | None
    ) -> tuple[Look, Hidden]:
        """Look and next state of one position (1,), from its input gates (R, G * H) and the coverage (R, S) so far."""
        sentences = len(memory.values)
        query = state[0].unflatten(0, (sentences, -1))  # (B, beam, H)
        covered = None if coverage is None else coverage.unflatten(0, (sentences, -1))
        look = self.look(query, memory, bias, place, covered)
        return look, self._advance(gates + self.context(look.context.flatten(0, 1)), state)

    def above(self, states: Tensor, bottom: Hidden, carry: Carry) -> tuple[Tensor, Hidden]:
        """Top states (R, T, H) over those of the lowest layer, and the last states of all layers."""
        after = tuple(part[None] for part in bottom)
        if self.upper is None:
            return states, after
        top, above = run(self.upper, self.dropout(states), tuple(part[1:] for part in carry.hidden))
        return top, tuple(torch.cat(parts) for parts in zip(after, above, strict=True))

    def _advance(self, gates: Tensor, state: Hidden) -> Hidden:
        """One step of the recurrent unit from its input gates (R, G * H)."""
        if self.cell == "lstm":  # Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000
            h, c = state
            i, f, g, o = (gates + self.recurrent(h)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            return torch.sigmoid(o) * torch.tanh(c), c
        (h,) = state  # Cho et al. 2014, in cuDNN's form: the reset gate acts after the recurrent product
        width = h.shape[1]
        recurrent = self.recurrent(h)
        r, z = torch.sigmoid(gates[:, : 2 * width] + recurrent[:, : 2 * width]).chunk(2, 1)
        n = torch.tanh(gates[:, 2 * width :] + r * recurrent[:, 2 * width :])
        return (n + z * (h - n),)


class Readout(nn.Module):
    """From state, previous word and context to the width of the embeddings: Bahdanau et al. 2015, appendix A.2.2.

    Uses s_i where the appendix has s_{i-1}, as every later system does.
    """

    def __init__(self, config: RnnConfig, context: int) -> None:
        super().__init__()
        self.maxout = config.readout == "maxout"
        width = config.embedding * (2 if self.maxout else 1)
        self.state = nn.Linear(config.hidden, width)
        self.embedding = nn.Linear(config.embedding, width, bias=False)
        self.context = nn.Linear(context, width, bias=False)
        self.dropout = Dropout(config.dropout)

    def forward(self, embedded: Tensor, decoded: Decoded) -> Tensor:
        """Hidden states (R, T, E), ready for the softmax."""
        total = self.state(decoded.states) + self.embedding(embedded) + self.context(decoded.contexts)
        hidden = total.unflatten(-1, (-1, 2)).amax(-1) if self.maxout else torch.tanh(total)
        return self.dropout(hidden)

    if TYPE_CHECKING:
        __call__ = forward


class RnnSeq2Seq(EncoderDecoder[RnnMemory, RnnState]):
    """Encoder, bridge, decoder and readout; the decoder is what attention changes."""

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
        self.bridge = nn.Linear(summary, config.layers * config.hidden * self._parts)
        self.readout = Readout(config, self.decoder.context_width)
        self.output = nn.Linear(config.embedding, target_vocabulary)
        if config.tie != "none":
            self.output.weight = self.target_embedding.weight
        self._initialise()

    def encode(self, source: Tensor, lengths: Tensor) -> RnnMemory:
        """See `Seq2Seq.encode`."""
        values, summary = self.encoder(self.embed(self.source_embedding, source), lengths)
        if self.fixed_vector is not None:
            summary = self.fixed_vector(summary)
        mask = padding_mask(lengths, source.shape[1], source.device)
        return RnnMemory(summary, self.decoder.values(values), self.decoder.keys(values), mask)

    def forced(self, source: Tensor, lengths: Tensor, target: Tensor) -> Forced:
        """See `EncoderDecoder.forced`."""
        memory = self.encode(source, lengths)
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
        """See `EncoderDecoder.attention_maps`: one layer, and the mean of its heads."""
        if self.fixed_vector is not None:
            raise ConfigError("a model with one fixed vector between encoder and decoder has no attention to show")
        memory = self.encode(source, lengths)
        decoded = self.decoder(self.embed(self.target_embedding, target), memory, self.first(memory))
        return torch.cat(list(decoded.weights), 1)[:, None, None]

    def start(self, memory: RnnMemory, beam: int) -> RnnState:
        """See `Seq2Seq.start`."""
        return RnnState(memory, self.first(memory).repeated(beam), beam)

    def step(self, state: RnnState, tokens: Tensor) -> tuple[Tensor, RnnState]:
        """See `Seq2Seq.step`."""
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
        """Tokens (B, T) to (B, T, E), thinned out while training."""
        return self.dropout(drop_words(table(tokens), self.config.word_dropout if self.training else 0.0))

    def compile_steps(self) -> None:
        """See `EncoderDecoder.compile_steps`: the step of the attention decoder; torch runs the other recurrences itself."""
        if isinstance(self.decoder, AttentionDecoder):
            self.decoder.position = torch.compile(self.decoder.position, dynamic=True)  # type: ignore[method-assign]

    @property
    def _parts(self) -> int:
        return 2 if self.config.cell == "lstm" else 1

    def first(self, memory: RnnMemory) -> Carry:
        """s_0 = tanh(W summary) for each layer (Bahdanau et al. 2015, appendix A.2.2), each (L, B, H)."""
        flat = torch.tanh(self.bridge(memory.summary))  # (B, parts * L * H)
        if self.config.bridge == "zero":
            flat = torch.zeros_like(flat)
        hidden = flat.unflatten(1, (self._parts, self.config.layers, -1)).permute(1, 2, 0, 3).contiguous().unbind(0)
        return self.decoder.first(memory, hidden)

    def tables(self) -> Tables:
        """See `EncoderDecoder.tables`."""
        target = [self.target_embedding.weight, self.output.weight, self.output.bias]
        return Tables([self.source_embedding.weight], target)

    def encoder_parts(self) -> Iterable[nn.Module]:
        """See `EncoderDecoder.encoder_parts`."""
        yield self.encoder

    def _initialise(self) -> None:
        """Orthogonal recurrent matrices (Saxe et al. 2014), Glorot elsewhere, small embeddings, zero biases.

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
    """The decoder for encoder states of a width."""
    if config.attention == "none":
        return BottleneckDecoder(config)
    kind = AttentionDecoder if config.query == "previous" else CurrentStateDecoder
    return kind(config, width, config.attention)


def _reversal(lengths: Tensor, width: int) -> Tensor:
    """Positions (B, S) that turn each sentence round within its length and leave padding where it is."""
    positions = torch.arange(width, device=lengths.device)
    turned = lengths[:, None] - 1 - positions
    return torch.where(turned >= 0, turned, positions)


def _gather(states: Tensor, positions: Tensor) -> Tensor:
    """states[b, positions[b, p]]: (B, S, D) and (B, P) to (B, P, D)."""
    return states.gather(1, positions[:, :, None].expand(-1, -1, states.shape[2]))
