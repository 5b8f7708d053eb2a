"""Training of a Transformer on a CPU with kernels: without padding, and with one function between two products.

The updater runs `packed_transformer(model)` in place of `Transformer.forward`. Hidden states and gradients are equal;
dropout is another draw from the same distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from nmt.corpus.tokenizer import PAD
from nmt.fast.cpu.packed_layers import Stream, Update, activated, added, attended, embedded, normed, product
from nmt.fast.kernels import kernels_for
from nmt.fast.kernels.layout import LANES
from nmt.fast.kernels.training import Chance, Norm, Spread, TrainingKernels
from nmt.models.protocol import padding_mask
from nmt.models.transformer.attention import CrossAttention, SelfAttention
from nmt.models.transformer.layers import FeedForward, Residual
from nmt.models.transformer.model import Transformer
from nmt.models.transformer.positions import TransformerEmbedding
from nmt.models.visual.model import Visual

# B sentences, S source positions, T target positions, N words of all sentences of a side, D width


@dataclass(frozen=True)
class Step:
    """A sublayer and the residual connection around it."""

    sublayer: Callable[[Tensor], Update]
    residual: Residual


@dataclass(frozen=True)
class Words:
    """The words of one side of a batch, sentence after sentence, without padding."""

    tokens: Tensor
    """(N,)"""
    places: Tensor
    """(N,) the position of each word in its sentence."""
    firsts: Tensor
    """(B + 1,) the first word of each sentence, and the total."""
    rows: Tensor
    """(N,) the index of each word in the flat padded batch."""

    @classmethod
    def of(cls, tokens: Tensor, lengths: Tensor) -> Words:
        """Packs tokens (B, T), of which the first `lengths` (B,) positions are real."""
        rows = padding_mask(lengths, tokens.shape[1], tokens.device).flatten().nonzero().squeeze(1)
        firsts = nn.functional.pad(lengths.cumsum(0), (1, 0))
        return cls(tokens.flatten().index_select(0, rows), rows % tokens.shape[1], firsts, rows)

    @classmethod
    def of_slices(cls, counts: Tensor) -> Words:
        """Numbers the slices of pictures, of which each has `counts` (B,); they are words of which each occurs once."""
        firsts = nn.functional.pad(counts.cumsum(0), (1, 0))
        numbers = torch.arange(int(firsts[-1]))
        return cls(numbers, numbers - firsts[:-1].repeat_interleave(counts), firsts, numbers)


@dataclass(frozen=True)
class CpuPackedTransformer:
    """Replaces the forward pass of a model in training: its weights and the kernels."""

    model: Transformer
    kernels: TrainingKernels
    visual: Visual | None = None
    """The model whose base `model` is, if the source is a picture."""

    def __call__(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Returns hidden states (B, T, D), equal to those of `Transformer.forward` in training, but zero at padding."""
        model = self.model
        (sources, table), targets = self._sources(source, lengths), Words.of(target, target.ne(PAD).sum(1))
        memory, steps = self._encode(sources, table), list[Step]()
        for layer in model.decoder:
            own = self._spread(layer.self_attention, targets, targets, causal=True)
            other = self._spread(layer.cross_attention, targets, sources)
            steps.append(Step(partial(self._self_attention, layer.self_attention, own), layer.self_residual))
            steps.append(
                Step(partial(self._cross_attention, layer.cross_attention, other, memory), layer.cross_residual)
            )
            steps.append(Step(partial(self._feed_forward, layer.feed_forward), layer.feed_forward_residual))
        embedding = model.target_embedding
        states = self._stack(self._embed(embedding, embedding.table.weight, targets), steps, model.decoder_norm)
        padded = states.new_zeros((target.numel(), states.shape[1])).index_copy(0, targets.rows, states)
        return padded.view(*target.shape, -1)

    def _sources(self, source: Tensor, lengths: Tensor) -> tuple[Words, Tensor]:
        """Returns the words of the source and the table of their embeddings; slices have a table of their own."""
        if self.visual is None:
            return Words.of(source, lengths), self.model.source_embedding.table.weight
        vectors, counts = self.visual.vectors(source, lengths)
        return Words.of_slices(counts), vectors.float() / math.sqrt(self.model.config.width)

    def _encode(self, sources: Words, table: Tensor) -> Tensor:
        """Returns the encoder's states (N, D)."""
        steps = list[Step]()
        for layer in self.model.encoder:
            own = self._spread(layer.self_attention, sources, sources)
            steps.append(Step(partial(self._self_attention, layer.self_attention, own), layer.self_residual))
            steps.append(Step(partial(self._feed_forward, layer.feed_forward), layer.feed_forward_residual))
        return self._stack(self._embed(self.model.source_embedding, table, sources), steps, self.model.encoder_norm)

    def _stack(self, states: Tensor, steps: Sequence[Step], last: nn.Module) -> Tensor:
        """Runs all steps and the last norm: (N, D). With pre-norm a step's norm is computed with the sum of the step before."""
        norms = [step.residual.norm for step in steps]
        post = not steps[0].residual.pre
        read = states.to(self._dtype) if post else normed(self.kernels, states, _norm(norms[0]), self._dtype)
        stream = Stream(states, read)
        for step, norm in zip(steps, norms if post else [*norms[1:], last], strict=True):
            update, chance = step.sublayer(stream.read), _chance(step.residual.dropout.probability)
            stream = added(self.kernels, stream, update, _norm(norm), chance, post)
        return stream.read

    def _embed(self, embedding: TransformerEmbedding, table: Tensor, words: Words) -> Tensor:
        chance = _chance(embedding.dropout.probability)
        places = embedding.sinusoids(int(words.places.max()) + 1) if embedding.sinusoidal else None
        return embedded(self.kernels, table, words.tokens, places, words.places, chance)

    def _self_attention(self, attention: SelfAttention, spread: Spread, read: Tensor) -> Update:
        projected = product(read, attention.projection.weight), attention.projection.bias
        context = attended(self.kernels, [projected], spread, _chance(attention.dropout))
        return Update(product(context, attention.output.weight), attention.output.bias)

    def _cross_attention(self, attention: CrossAttention, spread: Spread, memory: Tensor, read: Tensor) -> Update:
        queries = product(read, attention.query.weight), attention.query.bias
        seen = product(memory, attention.memory.weight), attention.memory.bias
        context = attended(self.kernels, [queries, seen], spread, _chance(attention.dropout))
        return Update(product(context, attention.output.weight), attention.output.bias)

    def _feed_forward(self, network: FeedForward, read: Tensor) -> Update:
        inner = product(read, network.inner.weight)
        inner = activated(self.kernels, inner, network.inner.bias, _chance(network.dropout.probability))
        return Update(product(inner, network.outer.weight), network.outer.bias)

    def _spread(
        self, attention: SelfAttention | CrossAttention, here: Words, there: Words, causal: bool = False
    ) -> Spread:
        return Spread(here.firsts, there.firsts, causal, attention.heads, attention.scale)

    @property
    def _dtype(self) -> torch.dtype:
        """The type of products."""
        return torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32


def packed_transformer(model: nn.Module) -> CpuPackedTransformer | None:
    """Returns the replacement of a model's forward pass in training; None: the model is trained unchanged.

    It exists for a Transformer in fp32 (or bf16 by autocast) with the usual options, whose widths are multiples of a vector.
    """
    visual, base = (model, model.base) if isinstance(model, Visual) else (None, model)
    if not isinstance(base, Transformer):
        return None
    config, kernels = base.config, kernels_for(base.target_embedding.table.weight)
    usual = config.positions in ("none", "sinusoidal") and config.activation == "relu" and config.residual
    widths = config.width // config.heads, config.width, config.feed_forward
    if kernels is None or not usual or config.word_dropout or any(width % LANES for width in widths):
        return None
    exact = all(parameter.dtype == torch.float32 for parameter in model.parameters())
    return CpuPackedTransformer(base, kernels.training, visual) if exact and not base.recompute else None


def _norm(module: nn.Module) -> Norm:
    match module:
        case nn.LayerNorm():
            return Norm(module.weight, module.bias, module.eps)
        case nn.RMSNorm():
            return Norm(module.weight, None, module.eps or 0.0)
        case _:
            raise TypeError(f"no norm: {module}")


def _chance(rate: float) -> Chance:
    """Makes dropout with a new key from torch's generator."""
    return Chance(rate, int(torch.empty((), dtype=torch.int64).random_()) if rate else 0)
