"""The decoder of ConvS2S, stepped in place."""

from __future__ import annotations

import torch
from torch import Tensor

from nmt.decoding.device.beams import Beams, Room
from nmt.decoding.device.sources import padded_places, real_positions, taken, token_positions
from nmt.models.convolution import Convolution, ConvolutionMemory, ConvolutionState

# B sentences, S source positions, N slots, R rows, E embedding, H hidden, W positions a kernel sees


class ConvolutionSteps:
    """Keeps the last inputs of each layer for all rows; a new sentence begins with zeros."""

    positions = staticmethod(token_positions)

    def __init__(self, model: Convolution) -> None:
        self.model = model

    def bytes(self, room: Room) -> int:
        """See `Steps.bytes`."""
        config = self.model.config
        windows = config.decoder_layers * room.rows * (config.kernel - 1) * config.hidden
        return self.model.output.weight.dtype.itemsize * (windows + 2 * room.tokens * config.embedding)

    def reserve(self, room: Room) -> None:
        """See `Steps.reserve`."""
        config, like = self.model.config, self.model.output.weight
        self.keys = self.values = like.new_zeros(0)  # the memory of the last search is free for this one
        self.windows: list[Tensor] = []
        self.keys, self.values = (like.new_zeros((room.tokens + 1, config.embedding)) for _ in range(2))
        self.scales = like.new_ones(room.sentences + 1)
        shape = (room.rows, config.kernel - 1, config.hidden)
        self.windows = [like.new_zeros(shape) for _ in range(config.decoder_layers)]

    def load(self, first: int, offset: int, source: Tensor, lengths: Tensor) -> None:
        """See `Steps.load`."""
        memory = self.model.encode(source, lengths)
        real = real_positions(lengths, source.shape[1], source.device)
        for store, part in ((self.keys, memory.keys), (self.values, memory.values)):
            store[offset : offset + len(real)] = part.flatten(0, 1).index_select(0, real)
        self.scales[first : first + len(source)] = memory.scale.flatten()

    def step(self, beams: Beams) -> Tensor:
        """See `Steps.step`."""
        model, beam = self.model, beams.room.beam
        places, real = padded_places(beams)
        bias = torch.zeros_like(real, dtype=self.keys.dtype).masked_fill(~real, -torch.inf)[:, None]
        scale = self.scales.index_select(0, beams.owners)[:, None, None]
        memory = ConvolutionMemory(taken(self.keys, places), taken(self.values, places), bias, scale)
        table = model.target_embedding
        at = beams.positions.clamp(max=table.positions.num_embeddings - 1)
        embedded = (table.table(beams.tokens).unflatten(0, (-1, beam)) + table.positions(at)[:, None]).flatten(0, 1)
        embedded = embedded[:, None]  # (R, 1, E)
        states, rows = model.target_input(embedded), beams.origins.clamp(max=beams.room.rows - 1)
        begun = (beams.origins >= beams.room.rows)[:, None, None]
        here = ConvolutionState(memory, (), 0, beam)
        for layer, window in zip(model.decoder, self.windows, strict=True):
            before = window.index_select(0, rows).masked_fill(begun, 0.0)  # (R, W - 1, H)
            window.copy_(torch.cat([before, states], 1)[:, 1:])
            states = model.step_layer(layer, states, before, embedded, here)
        return model.output(model.target_output(states)).squeeze(1)
