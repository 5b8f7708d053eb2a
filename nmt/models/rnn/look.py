"""Attention of a recurrent decoder, and the decoder that attends after its step (Luong et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nmt.config.model import RnnConfig, ScoreName
from nmt.models.rnn.scores import CoverageScore, MultiHeadScore, make_score
from nmt.models.rnn.state import Carry, Decoded, Hidden, RnnMemory, recurrent, run
from nmt.models.rnn.weighting import Place, make_weighting

# B sentences, S source positions, T target positions, R = B * beam rows, E embedding, H hidden
# C width of the encoder's states, A width of the keys


@dataclass(frozen=True)
class Look:
    """What T queries (or one query of each of T hypotheses) read from the source."""

    context: Tensor
    """(B, T, C)"""
    weights: Tensor
    """(B, T, S), averaged over the heads."""
    drawn: Tensor | None
    """(B, T), see `Weights.drawn`."""


class AttendingDecoder(nn.Module):
    """Holds score, weighting and context; subclasses decide the order of attention and recurrence."""

    def __init__(self, config: RnnConfig, width: int, score: ScoreName) -> None:
        """Makes the parts for encoder states of width `width`."""
        super().__init__()
        self.context_width = width
        self.score = make_score(score, config.hidden, width, config.coverage, config.heads)
        self.weighting = make_weighting(config.weighting, config.hidden, config.window)
        self.value = nn.Linear(width, width, bias=False) if config.values == "projected" else nn.Identity()

    def keys(self, values: Tensor) -> Tensor:
        """Returns keys (B, S, A) of the encoder's states (B, S, C), computed once per sentence."""
        return self.score.keys(values)

    def values(self, values: Tensor) -> Tensor:
        """Returns the vectors (B, S, C) that contexts average, computed once per sentence from the encoder's states."""
        return self.value(values)

    def first(self, memory: RnnMemory, hidden: Hidden) -> Carry:
        """Returns the carry of the first position."""
        rows = memory.mask.to(memory.values.dtype)
        return Carry(hidden, coverage=torch.zeros_like(rows) if isinstance(self.score, CoverageScore) else None)

    def look(self, query: Tensor, memory: RnnMemory, bias: Tensor, positions: Tensor, coverage: Tensor | None) -> Look:
        """Returns the contexts of queries (B, T, H) at target positions (T,) or (1,).

        Args:
            query: states of the decoder.
            memory: the encoded source.
            bias: `memory.bias`, computed once by the caller.
            positions: target positions of the queries.
            coverage: (B, T, S) the attention so far, for scores that use it.
        """
        if coverage is not None and isinstance(self.score, CoverageScore):
            scores = self.score.covered(query, memory.keys, coverage)  # (B, T, S)
        else:
            scores = self.score(query, memory.keys)  # (B, T, S), or (B * heads, T, S)
        if isinstance(self.score, MultiHeadScore):
            return self._look_with_heads(scores, query, memory, bias, positions)
        weights = self.weighting(scores + bias, Place(query, memory.mask, positions))
        return Look(torch.bmm(weights.values, memory.values), weights.values, weights.drawn)

    def _look_with_heads(
        self, scores: Tensor, query: Tensor, memory: RnnMemory, bias: Tensor, positions: Tensor
    ) -> Look:
        """Lets each head average its part of the values."""
        heads = len(scores) // len(memory.values)
        scores = scores + bias.repeat_interleave(heads, 0)
        weights = self.weighting(scores, Place(query, memory.mask, positions)).values  # (B * heads, T, S)
        values = memory.values.unflatten(2, (heads, -1)).transpose(1, 2).flatten(0, 1)  # (B * heads, S, C / heads)
        context = torch.bmm(weights, values).unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)  # (B, T, C)
        return Look(context, weights.unflatten(0, (-1, heads)).mean(1), None)


class CurrentStateDecoder(AttendingDecoder):
    """Runs the recurrent step first, then attends from the new state: Luong et al. 2015, section 3.

    s_i = f(s_{i-1}, y_{i-1}), then c_i from s_i; with input feeding f also sees tanh(W [c_{i-1}; s_{i-1}]) (equation 5).
    Without it, and without coverage, no position waits for the attention of another: both run over all at once.
    """

    def __init__(self, config: RnnConfig, width: int, score: ScoreName) -> None:
        super().__init__(config, width, score)
        feeding = config.input_feeding
        self.rnn = recurrent(config, config.embedding + (config.hidden if feeding else 0), config.layers)
        self.attentional = nn.Linear(width + config.hidden, config.hidden) if feeding else None

    def first(self, memory: RnnMemory, hidden: Hidden) -> Carry:
        """See `AttendingDecoder.first`; with input feeding the fed state is zero."""
        carry = super().first(memory, hidden)
        fed = None if self.attentional is None else hidden[0].new_zeros(hidden[0].shape[1:])
        return Carry(hidden, coverage=carry.coverage, fed=fed)

    def forward(self, embedded: Tensor, memory: RnnMemory, carry: Carry) -> Decoded:
        """Decodes embedded tokens (R, T, E)."""
        if carry.fed is None and carry.coverage is None:
            return self._together(embedded, memory, carry)
        bias, parts = memory.bias, []
        for position in range(embedded.shape[1]):
            part = self._one(embedded[:, position : position + 1], memory, bias, carry)
            carry = part.carry
            parts.append(part)
        return Decoded(
            torch.cat([part.states for part in parts], 1),
            torch.cat([part.contexts for part in parts], 1),
            carry,
            [part.weights[0] for part in parts],
            [drawn for part in parts for drawn in part.drawn],
        )

    if TYPE_CHECKING:
        __call__ = forward

    def _together(self, embedded: Tensor, memory: RnnMemory, carry: Carry) -> Decoded:
        """Decodes all positions in one call."""
        count, sentences = embedded.shape[1], len(memory.values)
        states, hidden = run(self.rnn, embedded, carry.hidden)  # (R, T, H)
        query = states.unflatten(0, (sentences, -1)).flatten(1, 2)  # (B, beam * T, H)
        positions = torch.arange(carry.position, carry.position + count, device=states.device)
        positions = positions.repeat(query.shape[1] // count)
        look = self.look(query, memory, memory.bias, positions, None)
        contexts = look.context.unflatten(1, (-1, count)).flatten(0, 1)  # (R, T, C)
        drawn = [] if look.drawn is None else [look.drawn]
        return Decoded(states, contexts, Carry(hidden, carry.position + count), [look.weights], drawn)

    def _one(self, embedded: Tensor, memory: RnnMemory, bias: Tensor, carry: Carry) -> Decoded:
        """Decodes one position (R, 1, E)."""
        sentences = len(memory.values)
        inputs = embedded if carry.fed is None else torch.cat([embedded, carry.fed[:, None]], 2)
        states, hidden = run(self.rnn, inputs, carry.hidden)  # (R, 1, H)
        query = states.unflatten(0, (sentences, -1)).squeeze(2)  # (B, beam, H)
        covered = None if carry.coverage is None else carry.coverage.unflatten(0, (sentences, -1))
        look = self.look(query, memory, bias, torch.full((1,), carry.position, device=query.device), covered)
        contexts = look.context.flatten(0, 1)[:, None]  # (R, 1, C)
        coverage = None if carry.coverage is None else carry.coverage + look.weights.flatten(0, 1)
        fed = None
        if self.attentional is not None:
            fed = torch.tanh(self.attentional(torch.cat([contexts, states], 2))).squeeze(1)  # (R, H)
        drawn = [] if look.drawn is None else [look.drawn]
        return Decoded(states, contexts, Carry(hidden, carry.position + 1, coverage, fed), [look.weights], drawn)
