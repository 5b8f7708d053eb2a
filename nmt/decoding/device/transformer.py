"""The decoder of a Transformer, stepped in place."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.decoding.device.attention import Turns, attend_past, attend_source
from nmt.decoding.device.beams import Beams, Room
from nmt.decoding.device.sources import real_positions, token_positions
from nmt.fast.gpu.norm import residual_norm
from nmt.models.transformer.layers import DecoderLayer, FeedForward, Residual
from nmt.models.transformer.model import Transformer

# B sentences, S source positions, N slots, R rows, T longest translation, D width, H heads, K width of a head


class TransformerSteps:
    """Writes the keys and values of each row and position once and never moves them."""

    positions = staticmethod(token_positions)

    def __init__(self, model: Transformer) -> None:
        self.model = model

    def bytes(self, room: Room) -> int:
        """See `Steps.bytes`."""
        config, dtype = self.model.config, self.model.output.weight.dtype
        return 2 * dtype.itemsize * config.decoder_layers * config.width * (room.rows * room.target + room.tokens)

    def reserve(self, room: Room) -> None:
        """See `Steps.reserve`."""
        self.keys = self.values = self.sources = []  # the memory of the last search is free for this one
        model, like = self.model, self.model.output.weight
        width, layers = model.config.width, range(model.config.decoder_layers)
        self.keys, self.values = ([like.new_zeros((room.rows, room.target, width)) for _ in layers] for _ in range(2))
        self.sources = [like.new_zeros((room.tokens + 1, 2 * width)) for _ in layers]
        embedding = model.target_embedding
        ready = embedding.sinusoidal and room.target <= len(embedding.positions)
        self.added = (embedding.positions[: room.target] if ready else embedding.added(room.target)).to(like)  # (T, D)
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
        read = model.decoder[0].self_residual.before(states)
        for number, layer in enumerate(model.decoder):
            states, read = self._layer(states, read, number, layer, beams)
        return model.output(read)

    def _layer(
        self, states: Tensor, read: Tensor, number: int, layer: DecoderLayer, beams: Beams
    ) -> tuple[Tensor, Tensor]:
        """Runs one layer on states (R, D) and their normed input `read`; returns both for the next layer."""
        own, cross, last = layer.self_attention, layer.cross_attention, number + 1 == len(self.model.decoder)
        after = self.model.decoder_norm if last else self.model.decoder[number + 1].self_residual.norm
        cache = (self.keys[number], self.values[number])
        seen = attend_past(own.projection(read), *cache, beams, own.heads, own.scale, self.turns, self.slopes)
        states, read = _joined(layer.self_residual, states, own.output(seen), layer.cross_residual.norm)
        seen = attend_source(cross.query(read), self.sources[number], beams, cross.heads, cross.scale)
        states, read = _joined(layer.cross_residual, states, cross.output(seen), layer.feed_forward_residual.norm)
        return _joined(layer.feed_forward_residual, states, _fed(layer.feed_forward, read), after)


def _joined(residual: Residual, states: Tensor, update: Tensor, after: nn.Module) -> tuple[Tensor, Tensor]:
    """Adds a sublayer's output to the states; returns them and the next sublayer's input (with pre-norm, normed by `after`)."""
    norm = after if residual.pre else residual.norm
    if not residual.residual or not isinstance(norm, nn.LayerNorm | nn.RMSNorm):
        states = residual.after(states, update)
        return states, after(states) if residual.pre else states
    bias = norm.bias if isinstance(norm, nn.LayerNorm) else None
    total, normed = residual_norm(states, update, norm.weight, bias, epsilon=norm.eps or 1e-5)
    return total if residual.pre else normed, normed


def _fed(network: FeedForward, states: Tensor) -> Tensor:
    """Runs the feed-forward network; on a GPU the ReLU is part of the first product."""
    inner = network.inner
    if network.activation is F.relu and states.is_cuda and type(inner) is nn.Linear:
        positive: Tensor = torch.ops.aten._addmm_activation.default(inner.bias, states, inner.weight.t())
        return network.outer(positive)
    return network.outer(network.activation(inner(states)))
