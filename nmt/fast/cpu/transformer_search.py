"""A Transformer in search on a CPU with kernels: the encoder is one call, a step is one, and nothing is moved.

Keys and values of a step stay where they were computed. A hypothesis holds the numbers of the rows that are its past.
Reordering therefore changes a table of small integers, and sentences that leave need no copies. Padding is never visited.
Values between layers are in fp32, whatever the type of the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nmt.fast.cpu.linear import TiledInt8Linear, TiledLinear
from nmt.fast.kernels import Kernels, kernels_for
from nmt.fast.kernels.layout import LANES, FinishedTable, Layer, Matrix, Norm, Sources, Stack, norm_of, places
from nmt.fast.kernels.transformer import History
from nmt.models.protocol import sentences_of
from nmt.models.transformer.layers import DecoderLayer, EncoderLayer, Residual
from nmt.models.transformer.model import Transformer, TransformerMemory
from nmt.models.transformer.positions import TransformerEmbedding

# B sentences, S source positions, R = B * beam rows, T positions so far, D width, H heads, K width of a head, V vocabulary


@dataclass(frozen=True)
class TransformerSources:
    """The encoded sources of a batch, as each layer attends to them."""

    table: Sources
    kept: tuple[object, ...]
    """Keeps alive the tensors that the table points to."""


@dataclass(frozen=True)
class TransformerKernelState:
    """R rows in the middle of decoding. States of one search share the steps, so step from each state only once."""

    sources: TransformerSources
    owners: Tensor
    """(B,) index of each sentence's source."""
    steps: list[Tensor]
    """Keys and values of each position, (layers, rows of that step, 2 * D)."""
    past: Tensor
    """(rows of the last step, T) int32, the row of each step that is the past of this row."""
    origins: Tensor
    """(R,) the row of the last step that each row continues."""
    beam: int


class TransformerByKernels:
    """A Transformer in the protocol of search; it shares its weights with the model."""

    def __init__(self, model: Transformer, kernels: Kernels) -> None:
        self.model, self.kernels = model, kernels
        self._kept: list[object] = []  # tensors that the structures below point to
        self._places = PositionTables(model)
        self._encoder = self._read(model.source_embedding, model.encoder, model.encoder_norm)
        self._decoder = self._read(model.target_embedding, model.decoder, model.decoder_norm)

    def encode(self, source: Tensor, lengths: Tensor) -> TransformerMemory:
        """See `Seq2Seq.encode`."""
        source, lengths = source.contiguous(), lengths.long().contiguous()
        added, turns = self._places.of_source(source.shape[1])
        states = self.kernels.transformer.encode(self._encoder, source, lengths, added, turns)
        return TransformerMemory(states, lengths, None)

    def start(self, memory: TransformerMemory, beam: int) -> TransformerKernelState:
        """See `Seq2Seq.start`."""
        sentences, longest, _ = memory.states.shape
        keys, values = self.kernels.transformer.project_source(self._decoder, memory.states, memory.lengths)
        addresses = (places(keys), places(values))
        table = Sources(longest, keys[0].shape[2], memory.lengths.data_ptr(), *addresses)
        owners = torch.arange(sentences)
        past, origins = torch.empty((sentences * beam, 0), dtype=torch.int32), torch.arange(sentences * beam)
        kept = TransformerSources(table, (keys, values, memory.lengths, addresses))
        return TransformerKernelState(kept, owners, [], past, origins, beam)

    def step(self, state: TransformerKernelState, tokens: Tensor) -> tuple[Tensor, TransformerKernelState]:
        """See `Seq2Seq.step`."""
        config, steps, position = self.model.config, state.steps, len(state.steps)
        steps.append(torch.empty((config.decoder_layers, len(tokens), 2 * config.width)))
        given = (
            self._decoder,
            state.sources.table,
            state.owners,
            tokens.contiguous(),
            *self._places.of_target(position),
        )
        hidden, past = self.kernels.transformer.step(*given, History(steps, state.past, state.origins))
        logits = self.model.output(hidden)  # (R, V)
        return logits, replace(state, past=past, origins=torch.arange(len(tokens)))

    def reorder(self, state: TransformerKernelState, rows: Tensor, beam: int) -> TransformerKernelState:
        """See `Seq2Seq.reorder`."""
        owners = state.owners
        if len(rows) != len(owners) * beam:
            owners = owners[sentences_of(rows, state.beam, beam)]
        return replace(state, owners=owners, origins=state.origins[rows], beam=beam)

    @property
    def whole(self) -> bool:
        """Whether the kernels also compute the logits, so that they can run a whole search."""
        return isinstance(self.model.output, TiledLinear | TiledInt8Linear)

    def search(self, memory: TransformerMemory, finished: FinishedTable) -> Iterator[int]:
        """Runs all steps of a search without rules, if `whole`; see `TransformerSearch`."""
        state = self.start(memory, 1)
        positions = self._places.of_targets(finished.longest)
        given = (self._decoder, self._matrix(self.model.output), state.sources.table, finished, len(memory.states))
        yield from self.kernels.search(*given, *positions)

    def _read(
        self, embedding: TransformerEmbedding, layers: Sequence[EncoderLayer | DecoderLayer], last: nn.Module
    ) -> Stack:
        """Describes all layers of the encoder or decoder to the kernels."""
        config, table = self.model.config, embedding.table.weight.float().contiguous()
        read = (Layer * len(layers))(*[self._layer(layer) for layer in layers])
        self._kept += [table, read]
        scale = layers[0].self_attention.scale
        return Stack(
            *(config.width, config.heads, config.feed_forward, len(layers)),
            *(config.norm == "pre", config.residual, config.activation == "gelu"),
            *(config.positions == "rotary", config.positions == "alibi"),
            *(scale, scale, config.width**0.5),
            table.data_ptr(),
            self._norm(last),
            read,
        )

    def _layer(self, layer: EncoderLayer | DecoderLayer) -> Layer:
        feed = layer.feed_forward
        read = Layer(
            projection=self._matrix(layer.self_attention.projection),
            self_output=self._matrix(layer.self_attention.output),
            inner=self._matrix(feed.inner),
            outer=self._matrix(feed.outer),
            self_norm=self._residual(layer.self_residual),
            feed_norm=self._residual(layer.feed_forward_residual),
        )
        if isinstance(layer, DecoderLayer):
            cross = layer.cross_attention
            read.query, read.memory = self._matrix(cross.query), self._matrix(cross.memory)
            read.cross_output, read.cross_norm = self._matrix(cross.output), self._residual(layer.cross_residual)
        return read

    def _matrix(self, layer: nn.Module) -> Matrix:
        if not isinstance(layer, TiledLinear | TiledInt8Linear):
            raise TypeError(f"{type(layer).__name__} has no tiles")
        return layer.matrix()  # the model keeps the layer alive

    def _residual(self, residual: Residual) -> Norm:
        return self._norm(residual.norm)

    def _norm(self, norm: nn.Module) -> Norm:
        own = copy.deepcopy(norm).float()
        self._kept.append(own)
        return norm_of(own)


class PositionTables:
    """Position tables of the kernels: vectors added to embeddings, or rotation angles of heads."""

    def __init__(self, model: Transformer) -> None:
        rotary = model.decoder[0].self_attention.rotary
        self._embeddings = (model.source_embedding, model.target_embedding)
        self._added = [self._first(embedding, 256) for embedding in self._embeddings]
        self._rotary_width = None if rotary is None else rotary.width
        self._turns = self._turned(256)

    def of_source(self, count: int) -> tuple[Tensor | None, Tensor | None]:
        """Returns the added vectors (count, D) of the first positions or None, and their rotations (count, K) or None."""
        return self._enough(0, count), self._enough_turns(count)

    def of_targets(self, count: int) -> tuple[Tensor | None, Tensor | None]:
        """Returns the tables of `of_source` for the first positions of a target."""
        return self._enough(1, count), self._enough_turns(count)

    def of_target(self, position: int) -> tuple[Tensor | None, Tensor | None]:
        """Returns the added vector (D,) and the rotation (K,) of one target position, each or None."""
        added, turns = self._enough(1, position + 1), self._enough_turns(position + 1)
        return None if added is None else added[position], None if turns is None else turns[position]

    def _enough(self, side: int, count: int) -> Tensor | None:
        added = self._added[side]
        if added is not None and count > len(added):
            self._added[side] = self._first(self._embeddings[side], 2 * count)
        return self._added[side]

    def _enough_turns(self, count: int) -> Tensor | None:
        if self._turns is not None and count > len(self._turns):
            self._turns = self._turned(2 * count)
        return self._turns

    @staticmethod
    def _first(embedding: TransformerEmbedding, count: int) -> Tensor | None:
        there = embedding.learned is not None or embedding.sinusoidal
        return embedding.added(count).float().contiguous() if there else None

    def _turned(self, count: int) -> Tensor | None:
        """Returns cosines, then sines, of the angles of the first positions; see `Rotary`."""
        if self._rotary_width is None:
            return None
        rates = 10000 ** (-torch.arange(0, self._rotary_width, 2, dtype=torch.float64) / self._rotary_width)
        angles = torch.arange(count, dtype=torch.float64)[:, None] * rates
        return torch.cat([angles.cos(), angles.sin()], 1).float().contiguous()


def transformer_by_kernels(model: Transformer) -> TransformerByKernels | None:
    """Returns the model with kernels; None: the heads are no multiple of a vector, or there are no kernels for it."""
    kernels = kernels_for(model.target_embedding.table.weight)
    layers = (*model.encoder, *model.decoder)
    tiled = all(isinstance(layer.feed_forward.inner, TiledLinear | TiledInt8Linear) for layer in layers)
    if kernels is None or not tiled or model.config.width // model.config.heads % LANES:
        return None
    return TransformerByKernels(model, kernels)
