"""Training of the attention RNN on a CPU with kernels: the loop over positions is one differentiable function.

The backward pass loops over positions only for the gradients of states. The gradients of matrices and values are one large
product each, after the last position. The updater runs `scanned(model)` in place of `RnnSeq2Seq.forward`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nmt.fast.kernels import kernels_for
from nmt.fast.kernels.layout import LANES
from nmt.fast.kernels.rnn_training import Cell, RecurrenceKernels, Source
from nmt.models.rnn.decoder import AttentionDecoder
from nmt.models.rnn.model import RnnSeq2Seq
from nmt.models.rnn.scores import AdditiveScore, CoverageScore
from nmt.models.rnn.state import Decoded, run
from nmt.models.rnn.weighting import Softmax
from nmt.models.visual.model import Visual

# B sentences, S source positions, T target positions, A width of the keys, C width of the values, H hidden, G gates of the cell


@dataclass(frozen=True)
class ScannedRnn:
    """Replaces the forward pass of a model in training: its weights and the kernels."""

    whole: RnnSeq2Seq | Visual
    """The model that encodes the source."""
    model: RnnSeq2Seq
    decoder: AttentionDecoder
    score: AdditiveScore
    kernels: RecurrenceKernels

    def __call__(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Returns hidden states (B, T, E), equal to those of `RnnSeq2Seq.forward`."""
        model, decoder = self.model, self.decoder
        memory = self.whole.encode(source, lengths)
        embedded = model.embed(model.target_embedding, target)  # (B, T, E)
        carry = model.first(memory)
        settings = _Settings(self.kernels, memory.mask.sum(1), decoder.cell == "lstm")
        matrices = self.score.query.weight, decoder.recurrent.weight, decoder.context.weight
        first = [part[0].float() for part in carry.hidden]
        states, contexts = _Scan.apply(  # type: ignore[no-untyped-call]  # torch leaves `apply` untyped
            settings,
            decoder.input(embedded),
            memory.keys,
            memory.values,
            *matrices,
            decoder.recurrent.bias,
            self.score.combine.weight,
            *first,
        )
        if decoder.upper is not None:
            states, _ = run(decoder.upper, decoder.dropout(states), tuple(part[1:] for part in carry.hidden))
        return model.readout(embedded, Decoded(states, contexts, carry))


def scanned(model: nn.Module) -> ScannedRnn | None:
    """Returns the replacement of a model's forward pass in training; None: the model is trained unchanged.

    It exists for the decoder of Bahdanau et al. 2015 in fp32 (or bf16 by autocast) whose widths are multiples of a vector.
    """
    base = model.base if isinstance(model, Visual) else model
    if not isinstance(base, RnnSeq2Seq) or not isinstance(base.decoder, AttentionDecoder):
        return None
    decoder, score = base.decoder, base.decoder.score
    if (
        not isinstance(score, AdditiveScore)
        or isinstance(score, CoverageScore)
        or not isinstance(decoder.weighting, Softmax)
    ):
        return None
    kernels, widths = kernels_for(base.target_embedding.weight), (decoder.recurrent.in_features, decoder.context_width)
    if kernels is None or any(width % LANES for width in widths):
        return None
    exact = all(parameter.dtype == torch.float32 for parameter in model.parameters())
    whole = model if isinstance(model, Visual) else base
    return ScannedRnn(whole, base, decoder, score, kernels.recurrence) if exact else None


@dataclass(frozen=True)
class _Settings:
    kernels: RecurrenceKernels
    lengths: Tensor
    """(B,)"""
    lstm: bool


@dataclass(frozen=True)
class _Tape:
    """Values that the forward pass keeps for the backward pass: products in their type, others in fp32."""

    inputs: Tensor
    """(B, T, G * H)"""
    both: Tensor
    """(T, B, A + G * H) products of the states: queries, and inputs of the cell."""
    read: Tensor
    """(T, B, G * H) products of the contexts."""
    queries: Tensor
    """(T, B, A) e^2q"""
    weights: Tensor
    """(T, B, S)"""
    contexts: Tensor
    """(T, B, C)"""
    active: Tensor
    """(T, B, 4 * H)"""
    memories: Tensor
    """(T + 1, B, H)"""
    states: Tensor
    """(T + 1, B, H)"""

    @classmethod
    def empty(cls, inputs: Tensor, source: Source, hidden: int) -> _Tape:
        """Allocates memory for all positions."""
        (sentences, positions, gates), (longest, width) = inputs.shape, source.keys.shape[1:]
        shapes = (width + gates, gates, width, longest, source.values.shape[2], 4 * hidden)
        exact = torch.float32
        dtypes = (inputs.dtype, inputs.dtype, exact, exact, inputs.dtype, exact)
        rooms = [torch.empty((positions, sentences, n), dtype=kind) for n, kind in zip(shapes, dtypes, strict=True)]
        after = [torch.empty((positions + 1, sentences, hidden), dtype=kind) for kind in (exact, inputs.dtype)]
        return cls(inputs, *rooms, *after)

    def cell(self, position: int, width: int, bias: Tensor, lstm: bool) -> Cell:
        """Returns the cell arguments of a position."""
        return Cell(
            self.inputs[:, position],
            self.read[position],
            self.both[position, :, width:],
            bias,
            self.memories[position],
            self.active[position],
            self.memories[position + 1],
            self.states[position + 1],
            lstm,
        )


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        settings: _Settings,
        inputs: Tensor,
        keys: Tensor,
        values: Tensor,
        query: Tensor,
        recurrent: Tensor,
        context: Tensor,
        bias: Tensor,
        combine: Tensor,
        *first: Tensor,
    ) -> Any:
        """Returns states (B, T, H) and contexts (B, T, C)."""
        dtype, width = inputs.dtype, query.shape[0]
        inputs, values = inputs.contiguous(), values.to(dtype).contiguous()
        source = Source((keys.float().clamp(-20, 20) * 2).exp_(), combine[0].contiguous(), values, settings.lengths)
        joined, mixing = torch.cat([query, recurrent]).to(dtype), context.to(dtype)
        tape = _Tape.empty(inputs, source, recurrent.shape[1])
        tape.states[0], tape.memories[0] = first[0], first[-1]
        for t in range(inputs.shape[1]):
            torch.mm(tape.states[t], joined.t(), out=tape.both[t])
            torch.exp(tape.both[t, :, :width].float().clamp_(-20, 20).mul_(2), out=tape.queries[t])
            settings.kernels.look(source, tape.queries[t], tape.weights[t], tape.contexts[t])
            torch.mm(tape.contexts[t], mixing.t(), out=tape.read[t])
            settings.kernels.cell(tape.cell(t, width, bias, settings.lstm))
        ctx.settings, ctx.source, ctx.tape, ctx.bias, ctx.matrices = settings, source, tape, bias, (joined, mixing)
        ctx.dtypes = inputs.dtype, keys.dtype, values.dtype
        return tape.states[1:].transpose(0, 1), tape.contexts.transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Runs through the positions, last first; then computes the gradients summed over positions."""
        settings, source, tape, (joined, mixing) = ctx.settings, ctx.source, ctx.tape, ctx.matrices
        width, kernels = source.keys.shape[2], settings.kernels
        d_states, d_contexts = (part.transpose(0, 1) for part in gradients)  # (T, B, H), (T, B, C)
        d_both, d_read = torch.empty_like(tape.both), torch.empty_like(tape.read)
        mixed = torch.empty_like(tape.contexts)
        d_keys, d_combine = torch.zeros_like(source.keys), torch.zeros((kernels.portions, width))
        d_state, d_memory = torch.zeros_like(tape.memories[0]), torch.zeros_like(tape.memories[0])
        for t in reversed(range(len(tape.read))):
            d_state += d_states[t]
            cell = tape.cell(t, width, ctx.bias, settings.lstm)
            kernels.cell_back(cell, d_state, d_memory, d_read[t], d_both[t, :, width:])
            torch.mm(d_read[t], mixing, out=mixed[t])
            mixed[t] += d_contexts[t]
            arguments = source, tape.queries[t], tape.weights[t], mixed[t], d_both[t, :, :width]
            kernels.look_back(*arguments, (d_keys, d_combine))
            d_state = (d_both[t] @ joined).float()
            if not settings.lstm:
                d_state += d_memory
        d_joined = d_both.flatten(0, 1).t() @ tape.states[:-1].flatten(0, 1)
        d_mixing = d_read.flatten(0, 1).t() @ tape.contexts.flatten(0, 1)
        d_bias = d_both[:, :, width:].sum((0, 1), dtype=torch.float32)
        d_values = torch.bmm(tape.weights.to(mixed.dtype).permute(1, 2, 0), mixed.transpose(0, 1))
        matrices = [part.float() for part in (d_joined[:width], d_joined[width:], d_mixing)]
        sums = *matrices, d_bias, d_combine.sum(0, keepdim=True)
        parts = d_read.transpose(0, 1), d_keys.to(ctx.dtypes[1]), d_values.to(ctx.dtypes[2])
        return None, *parts, *sums, d_state, *([d_memory] if settings.lstm else [])
