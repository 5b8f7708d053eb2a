"""A recurrent decoder, stepped in place."""

from __future__ import annotations

import torch
from torch import Tensor

from nmt.decoding.device.attending import Attending, attending_of
from nmt.decoding.device.beams import Beams, Room
from nmt.decoding.device.sources import padded_places, real_positions, taken, token_positions
from nmt.fast.triton import usable
from nmt.models.rnn.model import RnnSeq2Seq
from nmt.models.rnn.state import Carry, Decoded, RnnMemory, run

# B sentences, S source positions, N slots, P sentences of the queue, R rows, L layers, H hidden, C values, A keys


class RnnSteps:
    """Holds the states of the rows followed by the first state of each sentence, so that one selection serves both."""

    positions = staticmethod(token_positions)

    def __init__(self, model: RnnSeq2Seq) -> None:
        self.model = model
        self.attends = model.fixed_vector is None
        self.attending = attending_of(model.decoder)

    def bytes(self, room: Room) -> int:
        """See `Steps.bytes`."""
        config, dtype = self.model.config, self.model.bridge.weight.dtype
        width = self.model.encoder.width
        source = room.tokens * (2 * width + config.hidden) if self.attends else 0
        return dtype.itemsize * (source + (room.rows + room.sentences) * 4 * config.layers * config.hidden)

    def reserve(self, room: Room) -> None:
        """See `Steps.reserve`."""
        self.room = room
        model, config = self.model, self.model.config
        like = model.bridge.weight
        with torch.inference_mode():
            memory = model.encode(like.new_zeros((1, 1, config.embedding)), torch.ones(1, dtype=torch.long))
            carry = model.first(memory)
        rows, nothing = room.rows + room.sentences + 1, like.new_zeros(0)
        self.hidden, self.coverage, self.fed = [], None, None  # the memory of the last search is free for this one
        self.summary = self.values = self.keys = nothing
        self.hidden = [like.new_zeros((config.layers, rows, config.hidden)) for _ in carry.hidden]
        self.summary = like.new_zeros((room.sentences + 1, memory.summary.shape[1]))
        tokens = room.tokens + 1 if self.attends else 1
        self.values, self.keys = (like.new_zeros((tokens, part.shape[2])) for part in (memory.values, memory.keys))
        self.coverage = None if carry.coverage is None else like.new_zeros((room.rows, room.source))
        self.fed = None if carry.fed is None else like.new_zeros((room.rows, config.hidden))

    def load(self, first: int, offset: int, source: Tensor, lengths: Tensor) -> None:
        """See `Steps.load`."""
        memory = self.model.encode(source, lengths)
        here = slice(first, first + len(source))
        self.summary[here] = memory.summary
        begin = self.room.rows + first
        for store, hidden in zip(self.hidden, self.model.first(memory).hidden, strict=True):
            store[:, begin : begin + len(source)] = hidden
        if self.attends:
            real = real_positions(lengths, source.shape[1], source.device)
            for store, part in ((self.values, memory.values), (self.keys, memory.keys)):
                store[offset : offset + len(real)] = part.flatten(0, 1).index_select(0, real)

    def step(self, beams: Beams) -> Tensor:
        """See `Steps.step`."""
        model, rows = self.model, self.room.rows
        if self.attending is not None and usable(self.values):
            return self._attend(self.attending, beams)
        hidden = tuple(part.index_select(1, beams.origins) for part in self.hidden)
        begun = (beams.origins >= rows)[:, None]  # (R, 1)
        carry = Carry(hidden, 0, self._went_on(self.coverage, beams, begun), self._went_on(self.fed, beams, begun))
        embedded = model.target_embedding(beams.tokens)[:, None]  # (R, 1, E)
        decoded = model.decoder(embedded, self._memory(beams), carry)
        for store, part in zip(self.hidden, decoded.carry.hidden, strict=True):
            store[:, :rows] = part
        for kept, new in ((self.coverage, decoded.carry.coverage), (self.fed, decoded.carry.fed)):
            if kept is not None and new is not None:
                kept.copy_(new)
        return model.output(model.readout(embedded, decoded)).squeeze(1)  # (R, V)

    def _attend(self, attending: Attending, beams: Beams) -> Tensor:
        """Runs `step` in few operations."""
        model, rows = self.model, self.room.rows
        old = tuple(part.index_select(1, beams.origins) for part in self.hidden)  # each (L, R, H)
        embedded = model.target_embedding(beams.tokens)  # (R, E)
        new = tuple(part[0, :rows] for part in self.hidden)
        sources = (self.keys, self.values)
        contexts = attending(embedded, tuple(part[0] for part in old), new, sources, beams)[:, None]
        states = new[0][:, None]  # (R, 1, H)
        if attending.decoder.upper is not None:
            states, above = run(attending.decoder.upper, states, tuple(part[1:] for part in old))
            for store, part in zip(self.hidden, above, strict=True):
                store[1:, :rows] = part
        hidden = model.readout(embedded[:, None], Decoded(states, contexts, Carry(())))
        return model.output(hidden.squeeze(1))

    def _went_on(self, part: Tensor | None, beams: Beams, begun: Tensor) -> Tensor | None:
        """Returns other carried values of the rows (R, ...), zero for rows that begin a sentence."""
        if part is None:
            return None
        return part.index_select(0, beams.origins.clamp(max=self.room.rows - 1)).masked_fill(begun, 0.0)

    def _memory(self, beams: Beams) -> RnnMemory:
        """Returns the memory of the sources of the slots."""
        summary = self.summary.index_select(0, beams.owners)
        if not self.attends:
            nothing = summary[:, None, :0]
            return RnnMemory(summary, nothing, nothing, nothing.bool())
        places, real = padded_places(beams)
        return RnnMemory(summary, taken(self.values, places), taken(self.keys, places), real)
