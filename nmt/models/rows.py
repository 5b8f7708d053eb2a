"""The decoder of a Transformer as search runs it on a CPU with kernels: a row a hypothesis, and nothing is ever moved.

What a step has projected stays where it was computed. A hypothesis holds the numbers of the rows that are its past, so that
reordering changes a table of small integers, and sentences that leave take nothing with them. Keys and values of the source
lie as they were projected, too; padding is not attended to because it is not visited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nmt.kernels import LANES, Kernels, kernels_for
from nmt.models.seq2seq import Seq2Seq, sentences_of
from nmt.models.transformer import DecoderLayer, Transformer, TransformerMemory

# B sentences, S source positions, R = B * beam rows, T positions so far, D width, V vocabulary


@dataclass(frozen=True)
class RowsState:
    """R rows in the middle of decoding. The steps are shared by the states of one search: a state can be stepped from once."""

    sources: Sequence[Tensor]
    """Of each layer keys and values (sentences, S, 2 * D) of all sentences that were encoded together."""
    lengths: Tensor
    """(sentences,) positions of them that count."""
    owners: Tensor
    """(B,) which of them is each sentence's."""
    steps: Sequence[list[Tensor]]
    """Of each layer the projections of every position, (rows of that step, 3 * D)."""
    past: Tensor
    """(R, T) int32, which row of each step is a row's own."""
    beam: int


class Rows:
    """A Transformer, for the protocol of search; it shares all layers with the model."""

    def __init__(self, model: Transformer, kernels: Kernels) -> None:
        self.model, self.kernels = model, kernels
        self.encode = model.encode

    def start(self, memory: TransformerMemory, beam: int) -> RowsState:
        """See `Seq2Seq.start`."""
        sources = [layer.cross_attention.memory(memory.states) for layer in self.model.decoder]
        owners = torch.arange(len(memory.lengths))
        past = torch.empty((len(owners) * beam, 0), dtype=torch.int32)
        return RowsState(sources, memory.lengths.long().contiguous(), owners, [[] for _ in sources], past, beam)

    def step(self, state: RowsState, tokens: Tensor) -> tuple[Tensor, RowsState]:
        """See `Seq2Seq.step`."""
        model, position = self.model, state.past.shape[1]
        newest = torch.arange(len(tokens), dtype=torch.int32)
        state = replace(state, past=torch.cat([state.past, newest[:, None]], 1))
        states = model.target_embedding(tokens[None], position, together=True)[0]  # (R, D)
        for layer, source, steps in zip(model.decoder, state.sources, state.steps, strict=True):
            states = self._layer(layer, states, state, source, steps)
        return model.output(model.decoder_norm(states)), state  # (R, V)

    def reorder(self, state: RowsState, rows: Tensor, beam: int) -> RowsState:
        """See `Seq2Seq.reorder`."""
        owners = state.owners[sentences_of(rows, state.beam, beam)]
        return replace(state, owners=owners, past=state.past.index_select(0, rows), beam=beam)

    def _layer(
        self, layer: DecoderLayer, states: Tensor, state: RowsState, source: Tensor, steps: list[Tensor]
    ) -> Tensor:
        """What `DecoderLayer.forward` makes of the newest position (R, D)."""
        own, cross = layer.self_attention, layer.cross_attention
        steps.append(own.projection(layer.self_residual.before(states)))
        context = self.kernels.attend_past(steps, state.past, own.heads, own.scale)
        states = layer.self_residual.after(states, own.output(context))
        query = cross.query(layer.cross_residual.before(states))
        context = self.kernels.attend_source(query, source, state.owners, state.lengths, cross.heads, cross.scale)
        states = layer.cross_residual.after(states, cross.output(context))
        update = layer.feed_forward(layer.feed_forward_residual.before(states))
        return layer.feed_forward_residual.after(states, update)


def searchable(model: Seq2Seq[Any, Any]) -> Seq2Seq[Any, Any]:
    """The model as search runs it fastest: in rows, if it is a Transformer that can be, and else as it is."""
    if not isinstance(model, Transformer) or model.config.positions in ("rotary", "alibi"):
        return model  # the kernels do not turn queries, and do not count distances
    kernels = kernels_for(model.target_embedding.table.weight)
    if kernels is None or model.config.width // model.config.heads % LANES:
        return model
    return Rows(model, kernels)
