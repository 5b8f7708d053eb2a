"""The decoder of a Transformer as search runs it on a CPU with kernels: a step is one call, and nothing is ever moved.

What a step has projected stays where it was computed. A hypothesis holds the numbers of the rows that are its past, so that
reordering changes a table of small integers, and sentences that leave take nothing with them. Padding is never visited. Numbers
between layers are in fp32 whatever the weights are in.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.kernels import LANES, History, Kernels, kernels_for
from nmt.kernels.layout import Decoder, Layer, Matrix, Norm, Sources, norm_of, places
from nmt.models.linear import TiledInt8Linear, TiledLinear
from nmt.models.seq2seq import Seq2Seq, sentences_of
from nmt.models.transformer import DecoderLayer, Transformer, TransformerMemory

# B sentences, S source positions, R = B * beam rows, T positions so far, D width, H heads, K width of a head, V vocabulary


@dataclass(frozen=True)
class RowsSources:
    """The encoded sources of a batch, as each layer attends to them."""

    table: Sources
    kept: tuple[object, ...]
    """What the table points to."""


@dataclass(frozen=True)
class RowsState:
    """R rows in the middle of decoding. The steps are shared by the states of one search: a state can be stepped from once."""

    sources: RowsSources
    owners: Tensor
    """(B,) which of the sources is each sentence's."""
    steps: list[Tensor]
    """Of each position the keys and values, (layers, rows of that step, 2 * D)."""
    past: Tensor
    """(rows of the last step, T) int32, which row of each step was a row's own."""
    origins: Tensor
    """(R,) the row of the last step that each row goes on from."""
    beam: int


class Rows:
    """A Transformer, for the protocol of search; it shares its encoder and its output layer with the model."""

    def __init__(self, model: Transformer, kernels: Kernels) -> None:
        self.model, self.kernels = model, kernels
        self.encode = model.encode
        self._kept: list[object] = []  # what the structures below point to
        self._positions = model.target_embedding.added(256).float().contiguous()
        self._angles: dict[int, Tensor] = {}
        self._decoder = self._read(model)

    def start(self, memory: TransformerMemory, beam: int) -> RowsState:
        """See `Seq2Seq.start`."""
        sentences, longest, width = memory.states.shape
        heads = self.model.config.heads
        projected = [layer.cross_attention.memory(memory.states).float().contiguous() for layer in self.model.decoder]
        keys = [
            F.pad(part[..., :width].unflatten(2, (heads, -1)).permute(0, 2, 3, 1), (0, -longest % LANES)).contiguous()
            for part in projected  # (B, H, K, S), S filled up to whole vectors
        ]
        lengths, addresses = memory.lengths.long().contiguous(), (places(keys), places(projected))
        table = Sources(longest, keys[0].shape[3], lengths.data_ptr(), *addresses)
        owners = torch.arange(sentences)
        past, origins = torch.empty((sentences * beam, 0), dtype=torch.int32), torch.arange(sentences * beam)
        return RowsState(RowsSources(table, (keys, projected, lengths, addresses)), owners, [], past, origins, beam)

    def step(self, state: RowsState, tokens: Tensor) -> tuple[Tensor, RowsState]:
        """See `Seq2Seq.step`."""
        config, steps, position = self.model.config, state.steps, len(state.steps)
        steps.append(torch.empty((config.decoder_layers, len(tokens), 2 * config.width)))
        given = (self._decoder, state.sources.table, state.owners, tokens.contiguous())
        hidden, past = self.kernels.transformer_step(
            *given, self._added(position), self._turns(position), History(steps, state.past, state.origins)
        )
        logits = self.model.output(hidden)  # (R, V)
        return logits, replace(state, past=past, origins=torch.arange(len(tokens)))

    def reorder(self, state: RowsState, rows: Tensor, beam: int) -> RowsState:
        """See `Seq2Seq.reorder`."""
        owners = state.owners
        if len(rows) != len(owners) * beam:
            owners = owners[sentences_of(rows, state.beam, beam)]
        return replace(state, owners=owners, origins=state.origins[rows], beam=beam)

    def _added(self, position: int) -> Tensor | None:
        """What is added to the embeddings at a position (D,)."""
        embedding = self.model.target_embedding
        if embedding.learned is None and not embedding.sinusoidal:
            return None
        if position >= len(self._positions):
            self._positions = embedding.added(2 * (position + 1)).float().contiguous()
        return self._positions[position]

    def _turns(self, position: int) -> Tensor | None:
        """Cosines and sines of the angles of a position (K,); see `Rotary`."""
        rotary = self.model.decoder[0].self_attention.rotary
        if rotary is None:
            return None
        if position not in self._angles:
            rates = 10000 ** (-torch.arange(0, rotary.width, 2, dtype=torch.float64) / rotary.width)
            angles = position * rates
            self._angles[position] = torch.cat([angles.cos(), angles.sin()]).float()
        return self._angles[position]

    def _read(self, model: Transformer) -> Decoder:
        """All layers of the decoder as the kernels read them."""
        config, table = model.config, model.target_embedding.table.weight.float().contiguous()
        layers = (Layer * config.decoder_layers)(*[self._layer(layer) for layer in model.decoder])
        self._kept += [table, layers]
        first = model.decoder[0]
        return Decoder(
            *(config.width, config.heads, config.feed_forward, config.decoder_layers),
            *(config.norm == "pre", config.residual, config.activation == "gelu"),
            *(config.positions == "rotary", config.positions == "alibi"),
            *(first.self_attention.scale, first.cross_attention.scale, config.width**0.5),
            table.data_ptr(),
            self._norm(model.decoder_norm),
            layers,
        )

    def _layer(self, layer: DecoderLayer) -> Layer:
        own, cross, feed = layer.self_attention, layer.cross_attention, layer.feed_forward
        linear = (own.projection, own.output, cross.query, cross.output, feed.inner, feed.outer)
        norms = (layer.self_residual, layer.cross_residual, layer.feed_forward_residual)
        self._kept.append(linear)
        return Layer(*map(_matrix, linear), *(self._norm(residual.norm) for residual in norms))

    def _norm(self, norm: nn.Module) -> Norm:
        own = copy.deepcopy(norm).float()
        self._kept.append(own)
        return norm_of(own)


def _matrix(layer: nn.Module) -> Matrix:
    if not isinstance(layer, TiledLinear | TiledInt8Linear):
        raise TypeError(f"{type(layer).__name__} has no tiles")
    return layer.matrix()


def searchable(model: Seq2Seq[Any, Any]) -> Seq2Seq[Any, Any]:
    """The model as search runs it fastest: in rows, if it is a Transformer that can be, and else as it is."""
    if not isinstance(model, Transformer) or model.config.width // model.config.heads % LANES:
        return model
    kernels = kernels_for(model.target_embedding.table.weight)
    tiled = all(isinstance(layer.feed_forward.inner, TiledLinear | TiledInt8Linear) for layer in model.decoder)
    return Rows(model, kernels) if kernels is not None and tiled else model
