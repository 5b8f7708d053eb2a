"""Recurrent decoders: with one fixed vector as the only bridge, then the same with attention as the delta."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nmt.config.model import RnnConfig, ScoreName
from nmt.models.dropout import Dropout
from nmt.models.rnn.look import AttendingDecoder, Look
from nmt.models.rnn.state import Carry, Decoded, Hidden, RnnMemory, recurrent, run


class BottleneckDecoder(nn.Module):
    """A language model given one vector: in its first state (Sutskever et al. 2014) or at every step (Cho et al. 2014).

    With `feed_summary = "first"` or `"every"` the readout sees the vector at every step.
    """

    def __init__(self, config: RnnConfig) -> None:
        super().__init__()
        self.every_step = config.feed_summary == "every"
        self.context_width = 0 if config.feed_summary == "state" else config.hidden
        width = config.embedding + (config.hidden if self.every_step else 0)
        self.rnn = recurrent(config, width, config.layers)

    def keys(self, values: Tensor) -> Tensor:
        """Returns the values unchanged, as there is no attention."""
        return values

    def values(self, values: Tensor) -> Tensor:
        """Returns the values unchanged."""
        return values

    def first(self, _memory: RnnMemory, hidden: Hidden) -> Carry:
        """Returns a carry that holds only the recurrent state."""
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
    """Computes a new context for every word: RNNsearch (Bahdanau et al. 2015, section 3.1).

    alpha_ij = softmax_j e(s_{i-1}, h_j)    (equation 6)
    c_i      = sum_j alpha_ij h_j           (equation 5)
    s_i      = f(s_{i-1}, y_{i-1}, c_i)     (section 3.1)

    The context feeds the recurrence of the lowest layer; upper layers run over its states afterwards. Whatever does not
    depend on the recurrence (keys, input gates, readout) is computed outside the loop, for all positions at once.
    """

    replacement: Callable[[AttentionDecoder, Tensor, RnnMemory, Carry], Decoded | None] | None = None
    """Decodes in place of `forward` where it can, with equal results: `nmt.fast.gpu.attending` on a GPU."""

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
        """Decodes embedded tokens (R, T, E), one position after another."""
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
        """Decodes position `place` (1,) from input gates (R, G * H) and coverage (R, S); returns its look and next state."""
        sentences = len(memory.values)
        query = state[0].unflatten(0, (sentences, -1))  # (B, beam, H)
        covered = None if coverage is None else coverage.unflatten(0, (sentences, -1))
        look = self.look(query, memory, bias, place, covered)
        return look, self._advance(gates + self.context(look.context.flatten(0, 1)), state)

    def above(self, states: Tensor, bottom: Hidden, carry: Carry) -> tuple[Tensor, Hidden]:
        """Runs the upper layers over the lowest; returns top states (R, T, H) and the last states of all layers."""
        after = tuple(part[None] for part in bottom)
        if self.upper is None:
            return states, after
        top, above = run(self.upper, self.dropout(states), tuple(part[1:] for part in carry.hidden))
        return top, tuple(torch.cat(parts) for parts in zip(after, above, strict=True))

    def _advance(self, gates: Tensor, state: Hidden) -> Hidden:
        """Advances the recurrent unit by one step from its input gates (R, G * H)."""
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
    """Maps state, previous word and context to the embedding width: Bahdanau et al. 2015, appendix A.2.2.

    Uses s_i where the appendix has s_{i-1}, as all later systems do. A `context` of width 0 leaves the context out.
    """

    def __init__(self, config: RnnConfig, context: int) -> None:
        super().__init__()
        self.maxout = config.readout == "maxout"
        width = config.embedding * (2 if self.maxout else 1)
        self.state = nn.Linear(config.hidden, width)
        self.embedding = nn.Linear(config.embedding, width, bias=False)
        self.context = nn.Linear(context, width, bias=False) if context else None
        self.dropout = Dropout(config.dropout)

    def forward(self, embedded: Tensor, decoded: Decoded) -> Tensor:
        """Returns hidden states (R, T, E), ready for `output`."""
        total = self.state(decoded.states) + self.embedding(embedded)
        if self.context is not None:
            total = total + self.context(decoded.contexts)
        hidden = total.unflatten(-1, (-1, 2)).amax(-1) if self.maxout else torch.tanh(total)
        return self.dropout(hidden)

    if TYPE_CHECKING:
        __call__ = forward
