"""Differentiable functions of packed rows by the training kernels; each covers what lies between two matrix products.

Rows are the words of a batch, without padding. The bias of a product is added by the next function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nmt.fast.kernels.training import Chance, Norm, Projected, Spread, Summed, TrainingKernels

# N rows, D width, F feed-forward, I inputs, O outputs


@dataclass(frozen=True)
class Stream:
    """The input of a sublayer."""

    states: Tensor
    """(N, D) the residual stream, in fp32."""
    read: Tensor
    """(N, D) input of the sublayer, in the type of products."""


@dataclass(frozen=True)
class Update:
    """The output of a sublayer before its bias is added."""

    states: Tensor
    """(N, D)"""
    bias: Tensor
    """(D,)"""


def product(states: Tensor, weight: Tensor) -> Tensor:
    """Multiplies states (N, I) by a matrix (O, I), without bias, in the type of the states."""
    result: Tensor = _Product.apply(states, weight)  # type: ignore[no-untyped-call]  # torch leaves `apply` untyped
    return result


def normed(kernels: TrainingKernels, states: Tensor, norm: Norm, dtype: torch.dtype) -> Tensor:
    """Normalises states (N, D) and returns them in the type of products."""
    settings = _Sum(kernels, norm.epsilon, Chance(), dtype, post=False)
    result: Tensor = _Residual.apply(states, None, None, norm.weight, norm.bias, settings)[1]  # type: ignore[no-untyped-call]
    return result


def added(kernels: TrainingKernels, stream: Stream, update: Update, norm: Norm, chance: Chance, post: bool) -> Stream:
    """Adds an update to the stream with dropout. The next sublayer reads the norm, which with post-norm is the stream too."""
    settings = _Sum(kernels, norm.epsilon, chance, stream.read.dtype, post)
    return Stream(*_Residual.apply(stream.states, update.states, update.bias, norm.weight, norm.bias, settings))  # type: ignore[no-untyped-call]


def activated(kernels: TrainingKernels, states: Tensor, bias: Tensor, chance: Chance) -> Tensor:
    """Returns dropout(max(0, states + bias)) of states (N, F), computed in place."""
    result: Tensor = _Activated.apply(states, bias, kernels, chance)  # type: ignore[no-untyped-call]
    return result


def embedded(
    kernels: TrainingKernels, table: Tensor, tokens: Tensor, added: Tensor | None, places: Tensor, chance: Chance
) -> Tensor:
    """Returns dropout(sqrt(D) * embedding + position vector) of tokens (N,), in fp32; see `TrainingKernels.embed`."""
    result: Tensor = _Embedded.apply(table, tokens, added, places, kernels, chance)  # type: ignore[no-untyped-call]
    return result


def attended(
    kernels: TrainingKernels, parts: Sequence[tuple[Tensor, Tensor]], spread: Spread, chance: Chance
) -> Tensor:
    """Returns the contexts (N, D) of all heads.

    Args:
        kernels: the training kernels.
        parts: products with their biases: one (N, 3 D), or queries (N, D) and keys and values (M, 2 D).
        spread: where the sentences begin.
        chance: dropout of the attention weights.
    """
    flat = [tensor for part in parts for tensor in part]
    result: Tensor = _Attended.apply(kernels, spread, chance, *flat)  # type: ignore[no-untyped-call]
    return result


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor) -> Tensor:
        matrix = weight.to(states.dtype)
        ctx.save_for_backward(states, matrix)
        ctx.dtype = weight.dtype
        return states @ matrix.t()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Computes the gradient of the matrix in the orientation with fewer rows, as that product is faster."""
        (states, matrix), gradient = ctx.saved_tensors, gradients[0]
        d_states = gradient @ matrix if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return d_states, None
        outputs, inputs = matrix.shape
        d_matrix = gradient.t() @ states if outputs < inputs else (states.t() @ gradient).t()
        return d_states, d_matrix.to(ctx.dtype, memory_format=torch.contiguous_format)


@dataclass(frozen=True)
class _Sum:
    """Settings of a residual sum."""

    kernels: TrainingKernels
    epsilon: float
    chance: Chance
    dtype: torch.dtype
    post: bool


class _Residual(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        stream: Tensor,
        update: Tensor | None,
        bias: Tensor | None,
        weight: Tensor,
        shift: Tensor | None,
        settings: _Sum,
    ) -> Any:
        """Returns the new stream, if there is an update, and the input of the next sublayer."""
        norm = Norm(weight, shift, settings.epsilon)
        summed = settings.kernels.residual(stream, update, bias, norm, settings.chance, settings.dtype, settings.post)
        ctx.save_for_backward(summed.total, summed.measures, weight, shift)
        ctx.settings, ctx.updated, ctx.dtype = settings, update is not None, summed.read.dtype
        ctx.set_materialize_grads(False)
        onward = summed.normed if settings.post else summed.total
        return None if update is None else onward, summed.read.view(summed.read.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        (total, measures, weight, shift), settings = ctx.saved_tensors, ctx.settings
        onward, read = (None if part is None else part.contiguous() for part in gradients)
        three = (read, onward, None) if settings.post else (read, None, onward)
        summed = Summed(total, measures, total.new_empty(0), torch.empty(0, dtype=ctx.dtype))
        d_stream, d_update, sums = settings.kernels.residual_back(
            three, summed, Norm(weight, shift, settings.epsilon), settings.chance, ctx.updated
        )
        d_shift = None if shift is None else sums[2]
        if not ctx.updated:
            return d_stream, None, None, sums[1], d_shift, None
        return d_stream, d_update, sums[0], sums[1], d_shift, None


class _Activated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, bias: Tensor, kernels: TrainingKernels, chance: Chance) -> Tensor:
        kernels.activate(states, bias, chance)
        ctx.mark_dirty(states)
        ctx.save_for_backward(states)
        ctx.kernels, ctx.chance = kernels, chance
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (states,) = ctx.saved_tensors
        return *ctx.kernels.activate_back(states, gradients[0].contiguous(), ctx.chance), None, None


class _Embedded(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        table: Tensor,
        tokens: Tensor,
        added: Tensor | None,
        places: Tensor,
        kernels: TrainingKernels,
        chance: Chance,
    ) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.kernels, ctx.chance, ctx.shape = kernels, chance, table.shape
        return kernels.embed(table, tokens, added, places, table.shape[1] ** 0.5, chance)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (tokens,), (vocabulary, width) = ctx.saved_tensors, ctx.shape
        table = ctx.kernels.embed_back(gradients[0].contiguous(), tokens, vocabulary, width**0.5, ctx.chance)
        return table, None, None, None, None, None


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernels: TrainingKernels, spread: Spread, chance: Chance, *parts: Tensor) -> Tensor:
        context, weights = kernels.attend(_projected(parts), spread, chance)
        ctx.save_for_backward(weights, *parts)
        ctx.kernels, ctx.spread, ctx.chance = kernels, spread, chance
        return context

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        weights, *parts = ctx.saved_tensors
        made = [torch.empty_like(part) for part in parts[::2]]
        found = _split(made)
        sums = ctx.kernels.attend_back(
            gradients[0].contiguous(), weights, _projected(parts), found, ctx.spread, ctx.chance
        )
        if len(parts) == 2:
            return None, None, None, made[0], sums.flatten()
        return None, None, None, made[0], sums[0], made[1], sums[1:].flatten()


def _projected(parts: Sequence[Tensor]) -> Projected:
    return Projected(*_split(parts[::2]), _split(parts[1::2]))


def _split(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Returns queries, keys and values (or their biases) as views of one or two tensors."""
    if len(parts) == 1:
        query, key, value = parts[0].chunk(3, -1)
    else:
        query, (key, value) = parts[0], parts[1].chunk(2, -1)
    return query, key, value
