"""The decoder of a Transformer, step by step in place."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.fast.search.attention import Turns, attend_past, attend_source
from nmt.fast.search.beams import Beams, Room
from nmt.fast.search.sources import real_positions
from nmt.models.transformer import DecoderLayer, FeedForward, Transformer

# B sentences, S source positions, N slots, R rows, T longest translation, D width, H heads, K width of a head


class TransformerSteps:
    """Keys and values of each row and position are written once and never move."""

    def __init__(self, model: Transformer) -> None:
        self.model = model

    def bytes(self, room: Room) -> int:
        """See `Steps.bytes`."""
        config, dtype = self.model.config, self.model.output.weight.dtype
        return 2 * dtype.itemsize * config.decoder_layers * config.width * (room.rows * room.target + room.tokens)

    def reserve(self, room: Room) -> None:
        """See `Steps.reserve`."""
        model, like = self.model, self.model.output.weight
        width, layers = model.config.width, range(model.config.decoder_layers)
        self.keys, self.values = ([like.new_zeros((room.rows, room.target, width)) for _ in layers] for _ in range(2))
        self.sources = [like.new_zeros((room.tokens + 1, 2 * width)) for _ in layers]
        self.added = model.target_embedding.added(room.target).to(like)  # (T, D)
        rotary = model.decoder[0].self_attention.rotary
        self.turns = None if rotary is None else Turns.of(room.target, rotary.width, like)
        heads = model.config.heads
        slopes = 2 ** (-8 * torch.arange(1, heads + 1, dtype=torch.float64) / heads)  # (H,)
        self.slopes = slopes.to(like) if model.config.positions == "alibi" else None

    def load(self, first: int, offset: int, source: Tensor, lengths: Tensor) -> None:  # noqa: ARG002  # as all families
        """See `Steps.load`."""
        states = self.model.encode(source, lengths).states
        real = real_positions(lengths, source.shape[1], source.device)
        states = states.flatten(0, 1).index_select(0, real)
        for layer, store in zip(self.model.decoder, self.sources, strict=True):
            store[offset : offset + len(states)] = layer.cross_attention.memory(states)

    def step(self, beams: Beams) -> Tensor:
        """See `Steps.step`."""
        model = self.model
        embedded = model.target_embedding.table(beams.tokens) * math.sqrt(model.config.width)
        added = self.added.index_select(0, beams.positions)[:, None]  # (N, 1, D)
        states = (embedded.unflatten(0, (-1, beams.room.beam)) + added).flatten(0, 1)  # (R, D)
        for number, layer in enumerate(model.decoder):
            states = self._layer(states, number, layer, beams)
        return model.output(model.decoder_norm(states))

    def _layer(self, states: Tensor, number: int, layer: DecoderLayer, beams: Beams) -> Tensor:
        """(R, D) to (R, D); see `DecoderLayer.forward`."""
        own, cross = layer.self_attention, layer.cross_attention
        projected = own.projection(layer.self_residual.before(states))  # (R, 3 * D)
        cache = (self.keys[number], self.values[number])
        seen = attend_past(projected, *cache, beams, own.heads, own.scale, self.turns, self.slopes)
        states = layer.self_residual.after(states, own.output(seen))
        query = cross.query(layer.cross_residual.before(states))
        seen = attend_source(query, self.sources[number], beams, cross.heads, cross.scale)
        states = layer.cross_residual.after(states, cross.output(seen))
        update = self._feed(layer.feed_forward, layer.feed_forward_residual.before(states))
        return layer.feed_forward_residual.after(states, update)

    @staticmethod
    def _feed(network: FeedForward, states: Tensor) -> Tensor:
        """The feed-forward network, its ReLU within the product."""
        inner = network.inner
        if network.activation is F.relu and states.is_cuda and type(inner) is nn.Linear:
            positive: Tensor = torch.ops.aten._addmm_activation.default(inner.bias, states, inner.weight.t())
            return network.outer(positive)
        return network.outer(network.activation(inner(states)))
