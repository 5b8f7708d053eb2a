"""The Transformer on packed rows: equal to `nmt.models.transformer.model` on padded sentences, with the same parameters.

States are (rows, D), without padding or transposed heads. Keys and values of the source are one product for all decoder
layers. Each norm is computed together with the dropout and the sum before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.fast.gpu.attention import Rotation, packed_attention, rotation
from nmt.fast.gpu.norm import activated_product, product, residual_norm
from nmt.fast.gpu.packing import Packed, Windows
from nmt.fast.gpu.seeds import Seeds
from nmt.models.dropout import drop
from nmt.models.transformer.attention import CrossAttention, MultiHeadAttention, SelfAttention
from nmt.models.transformer.layers import DecoderLayer, EncoderLayer, FeedForward, Residual
from nmt.models.transformer.model import Transformer
from nmt.models.transformer.positions import LEARNED, TransformerEmbedding, sinusoids

# S source rows, N target rows, D width, H heads, K width of a head, L layers of the decoder


@dataclass(frozen=True)
class _Sublayer:
    """A sublayer and its residual connection."""

    residual: Residual
    inner: Callable[[Tensor], Tensor]
    """The sublayer without its last product."""
    outer: nn.Linear
    """The last product; its bias is added together with the residual sum."""


@dataclass(frozen=True)
class _Side:
    """The positions and attention windows of one side's rows."""

    places: Tensor
    """(rows,) position in the sentence."""
    windows: Windows
    rotary: Rotation | None


class PackedTransformer:
    """Runs a Transformer on packed rows with given weights, which may be copies in another precision."""

    def __init__(self, model: Transformer, weights: Mapping[Tensor, Tensor], seeds: Seeds, longest: int) -> None:
        """Takes weights to use for the parameters of a model, and the most tokens of a sentence, with EOS."""
        self.model, self.config, self.seeds = model, model.config, seeds
        self._weights = weights
        example = self.of(model.output.weight)
        self.dtype, device = example.dtype, example.device
        config = self.config
        self._sinusoids = sinusoids(longest, config.width).float().to(device, self.dtype)
        places = torch.arange(longest, device=device)
        self._angles = (
            rotation(places, config.width // config.heads, self.dtype) if config.positions == "rotary" else None
        )
        slopes = 2 ** (-8 * torch.arange(1, config.heads + 1, dtype=torch.float64) / config.heads)
        self._slopes = (
            slopes.to(device, torch.promote_types(self.dtype, torch.float32)) if config.positions == "alibi" else None
        )

    def of(self, parameter: Tensor) -> Tensor:
        """Returns the weight to use for a parameter."""
        return self._weights[parameter]

    def hidden(self, batch: Packed) -> Tensor:
        """Returns hidden states (N, D) of the target, ready for the output projection; those of empty rows are undefined."""
        model = self.model
        source_states, target_states = self._embedded(batch)
        source = self._side(batch.source[1], batch.encoder)
        encoder = [layer for layer in model.encoder_layers if isinstance(layer, EncoderLayer)]
        memory = self._through(
            source_states, [part for layer in encoder for part in self._encoding(layer, source)], model.encoder_norm
        )
        target = self._side(batch.target[2], batch.decoder)
        parts: list[_Sublayer] = []
        for layer, keys, values in zip(model.decoder, *self._memory(memory), strict=True):
            parts += self._decoding(layer, target, keys, values, batch.cross)
        return self._through(target_states, parts, model.decoder_norm)

    def _embedded(self, batch: Packed) -> tuple[Tensor, Tensor]:
        """Returns the inputs of the two stacks, (S, D) and (N, D), by one look-up if they share a table."""
        source, target = self.model.source_embedding, self.model.target_embedding
        if source.table is not target.table:
            return self._embed(source, *batch.source[:2]), self._embed(target, batch.target[0], batch.target[2])
        tokens = torch.cat([batch.source[0], batch.target[0]])
        rows = len(batch.source[0])
        if source.learned is not None:  # each side has its own learned positions
            embedded = self._words(target, tokens)
            return self._placed(source, embedded[:rows], batch.source[1]), self._placed(
                target, embedded[rows:], batch.target[2]
            )
        states = self._placed(target, self._words(target, tokens), torch.cat([batch.source[1], batch.target[2]]))
        return states[:rows], states[rows:]

    def _embed(self, embedding: TransformerEmbedding, tokens: Tensor, places: Tensor) -> Tensor:
        return self._placed(embedding, self._words(embedding, tokens), places)

    def _words(self, embedding: TransformerEmbedding, tokens: Tensor) -> Tensor:
        """Looks up embeddings of tokens, with word dropout."""
        embedded = F.embedding(tokens, self.of(embedding.table.weight))
        if embedding.word_dropout:
            embedded = embedded * F.dropout(embedded.new_ones((len(embedded), 1)), embedding.word_dropout)
        return embedded

    def _placed(self, embedding: TransformerEmbedding, embedded: Tensor, places: Tensor) -> Tensor:
        """See `TransformerEmbedding.forward`; dropout comes later."""
        gain = math.sqrt(embedding.table.embedding_dim)
        if embedding.learned is not None:
            added = F.embedding(places.clamp(max=LEARNED - 1), self.of(embedding.learned.weight))
            return torch.add(added, embedded, alpha=gain)
        if embedding.sinusoidal:
            return torch.add(self._sinusoids.index_select(0, places), embedded, alpha=gain)
        return embedded * gain

    def _side(self, places: Tensor, windows: Windows) -> _Side:
        rotary = None
        if self._angles is not None:
            cosine, sine = self._angles
            rotary = cosine.index_select(0, places), sine.index_select(0, places)
        return _Side(places, windows, rotary)

    def _memory(self, states: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Returns keys and values (S, D) of the source for each decoder layer, by one product."""
        maps = [layer.cross_attention.memory for layer in self.model.decoder]
        weight = torch.cat([self.of(part.weight) for part in maps])  # (L * 2 D, D)
        bias = torch.cat([self.of(part.bias) for part in maps])
        parts = product(states, weight, bias).chunk(2 * len(maps), 1)
        return parts[::2], parts[1::2]

    def _encoding(self, layer: EncoderLayer, side: _Side) -> list[_Sublayer]:
        attention, fed = layer.self_attention, layer.feed_forward
        return [
            _Sublayer(
                layer.self_residual, lambda read: self._to_itself(attention, read, side, causal=False), attention.output
            ),
            _Sublayer(layer.feed_forward_residual, lambda read: self._fed(fed, read), fed.outer),
        ]

    def _decoding(
        self, layer: DecoderLayer, side: _Side, keys: Tensor, values: Tensor, windows: Windows
    ) -> list[_Sublayer]:
        attention, cross, fed = layer.self_attention, layer.cross_attention, layer.feed_forward
        return [
            _Sublayer(
                layer.self_residual, lambda read: self._to_itself(attention, read, side, causal=True), attention.output
            ),
            _Sublayer(
                layer.cross_residual, lambda read: self._to_source(cross, read, keys, values, windows), cross.output
            ),
            _Sublayer(layer.feed_forward_residual, lambda read: self._fed(fed, read), fed.outer),
        ]

    def _to_itself(self, attention: SelfAttention, states: Tensor, side: _Side, causal: bool) -> Tensor:
        """Returns contexts of states (rows, D) that attend to each other."""
        return packed_attention(
            self._linear(attention.projection, states),
            None,
            None,
            side.windows.starts,
            side.windows.counts,
            heads=attention.heads,
            causal=causal,
            dropout=attention.dropout,
            seed=self.seeds.next() if attention.dropout else None,
            slopes=self._slopes,
            rotary=side.rotary,
            scaling=attention.scale,
        )

    def _to_source(
        self, attention: CrossAttention, states: Tensor, keys: Tensor, values: Tensor, windows: Windows
    ) -> Tensor:
        """Returns contexts of states (N, D) that attend to the source."""
        return packed_attention(
            self._linear(attention.query, states),
            keys,
            values,
            windows.starts,
            windows.counts,
            windows.query_starts,
            windows.query_counts,
            heads=attention.heads,
            dropout=attention.dropout,
            seed=self.seeds.next() if attention.dropout else None,
            scaling=attention.scale,
        )

    def _fed(self, layer: FeedForward, states: Tensor) -> Tensor:
        """Returns the input of the last product of a feed-forward network."""
        dropout, inner = layer.dropout.probability, layer.inner
        seed = self.seeds.next() if dropout else None
        weight, bias = self.of(inner.weight), self.of(inner.bias)
        return activated_product(states, weight, bias, self.config.activation, dropout, seed)

    def _linear(self, layer: nn.Linear, states: Tensor) -> Tensor:
        return product(states, self.of(layer.weight), self.of(layer.bias))

    def _through(self, embedded: Tensor, sublayers: Sequence[_Sublayer], last: nn.Module) -> Tensor:
        """Runs embedded tokens (rows, D), before dropout, through the sublayers of a stack and its last norm."""
        pre, dropout = self.config.norm == "pre", self.config.dropout
        following = [sublayer.residual.norm for sublayer in sublayers[1:]] + [last]
        if pre:
            states, read = self._joined(None, embedded, sublayers[0].residual.norm, None, dropout)
        else:
            states = read = drop(embedded, dropout)
        for sublayer, next_norm in zip(sublayers, following, strict=True):
            residual, outer = sublayer.residual, sublayer.outer
            update = product(sublayer.inner(read), self.of(outer.weight))
            before = states if residual.residual else None
            norm = next_norm if pre else residual.norm
            total, read = self._joined(before, update, norm, self.of(outer.bias), residual.dropout.probability)
            states = total if pre else read
        return read

    def _joined(
        self, states: Tensor | None, update: Tensor, norm: nn.Module, shift: Tensor | None, dropout: float
    ) -> tuple[Tensor, Tensor]:
        """See `residual_norm`."""
        weight, bias, epsilon = self._parts(norm)
        seed = self.seeds.next() if dropout else None
        return residual_norm(states, update, weight, bias, shift, epsilon=epsilon, dropout=dropout, seed=seed)

    def _parts(self, norm: nn.Module) -> tuple[Tensor, Tensor | None, float]:
        """Returns weight, bias and epsilon of a norm; an RMS norm has no bias."""
        match norm:
            case nn.LayerNorm():
                return self.of(norm.weight), self.of(norm.bias), norm.eps
            case nn.RMSNorm(eps=float(epsilon)):
                return self.of(norm.weight), None, epsilon
            case _:
                raise TypeError(norm)


def kept_exact(model: Transformer) -> set[nn.Parameter]:
    """Returns the parameters that keep their precision whatever that of the states: of norms and residual sums."""
    linears = [attention.output for attention in model.modules() if isinstance(attention, MultiHeadAttention)]
    linears += [layer.outer for layer in model.modules() if isinstance(layer, FeedForward)]
    norms = (module for module in model.modules() if isinstance(module, nn.LayerNorm | nn.RMSNorm))
    return {linear.bias for linear in linears} | {part for norm in norms for part in norm.parameters()}
