"""A recurrence that attends (Bahdanau et al. 2015), in four kernels for each position, each way.

They are two products, a look at the source, and the recurrent unit. Gradients of weights, keys and values are products over all
positions, after the loop. `nmt.models.rnn.decoder.AttentionDecoder` says what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# B sentences, R = B * beam rows, S source positions, T target positions, H hidden, A width of queries, C width of values
# G gates of the recurrent unit (GRU 3, LSTM 4), J = G * H + A, or G * H where the state itself is the query


@dataclass(frozen=True)
class Source:
    """The source that rows attend to, with a beam of rows per sentence."""

    keys: Tensor
    """(B, S, A)"""
    values: Tensor
    """(B, S, C)"""
    lengths: Tensor
    """(B,) source lengths, of any integer type; 0 gives a context of zeros."""
    vector: Tensor | None
    """(A,) of the additive score; None: a score is the product of query and key."""
    scale: float = 1.0
    """Factor of that product."""


@dataclass(frozen=True)
class Attended:
    """States, contexts and attention weights of all positions."""

    states: Tensor
    """(T, R, H)"""
    contexts: Tensor
    """(T, R, C)"""
    weights: Tensor
    """(T, R, S), without gradient."""
    last: tuple[Tensor, ...]
    """Last state, and cell if there is one, each (R, H)."""


def attending_recurrence(
    gates: Tensor,
    first: tuple[Tensor, ...],
    source: Source,
    recurrent: tuple[Tensor, Tensor],
    context: Tensor,
    query: Tensor | None,
) -> Attended:
    """Runs over T positions on a GPU, in the precision of the gates.

    Gradients need one row per sentence.

    Args:
        gates: (T, R, G * H) gate sums from the inputs, contiguous.
        first: first state (R, H), and cell of an LSTM.
        source: the source to attend to.
        recurrent: weight (G * H, H) and bias (G * H,) of the old state.
        context: weight (G * H, C) of the context.
        query: weight (A, H) of the query; None: the state itself is the query.
    """
    dtype, (weight, bias) = gates.dtype, recurrent
    if query is not None:
        weight, bias = torch.cat([weight, query]), torch.cat([bias, bias.new_zeros(len(query))])
    inputs = (first[0], weight, bias, context, source.keys, source.values)
    cell = first[1].float() if len(first) > 1 else None
    vector = None if source.vector is None else source.vector.to(dtype)
    states, contexts, weights, last = _Recurrence.apply(  # type: ignore[no-untyped-call]  # torch leaves `apply` untyped
        gates, cell, vector, source.lengths, source.scale, *(part.to(dtype) for part in inputs)
    )
    ends = (states[-1],) if cell is None else (states[-1], last.to(dtype))
    return Attended(states, contexts, weights, ends)


class _Recurrence(torch.autograd.Function):
    """The loop over positions and its backward pass."""

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, cell: Tensor | None, vector: Tensor | None, lengths: Tensor, scale: float,
        first: Tensor, weight: Tensor, bias: Tensor, context: Tensor, keys: Tensor, values: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """Returns states (T, R, H), contexts (T, R, C), weights (T, R, S) and the last cell (R, H)."""
        from nmt.fast.triton.cells import gru, lstm
        from nmt.fast.triton.look import look

        (times, rows, wide), width = gates.shape, first.shape[1]
        keys, values = keys.contiguous(), values.contiguous()
        states = gates.new_empty((times + 1, rows, width))
        cells = gates.new_empty((times + 1, rows, width) if cell is not None else (1, 1, 1), dtype=torch.float32)
        joint, kept = gates.new_empty((times, rows, len(weight))), gates.new_empty((times, rows, 4 * width))
        contexts = gates.new_empty((times, rows, values.shape[2]))
        weights = gates.new_empty((times, rows, keys.shape[1]), dtype=torch.float32)
        sums = torch.empty_like(gates[0])
        states[0] = first
        if cell is not None:
            cells[0] = cell
        for time in range(times):
            torch.addmm(bias, states[time], weight.t(), out=joint[time])
            query = joint[time, :, wide:] if len(weight) > wide else states[time]
            look(query, keys, vector, values, lengths, weights[time], contexts[time], scale)
            torch.addmm(gates[time], contexts[time], context.t(), out=sums)
            recurrent = joint[time, :, :wide]
            if cell is not None:
                lstm(sums, recurrent, cells[time], states[time + 1], cells[time + 1], kept[time])
            else:
                gru(sums, recurrent, states[time], states[time + 1], kept[time])
        ctx.scale, ctx.wide, ctx.lstm = scale, wide, cell is not None
        queries = joint[:, :, wide:] if len(weight) > wide else states[:-1]
        ctx.save_for_backward(
            queries, kept, states, cells, contexts, weights, vector, lengths, weight, context, keys, values
        )
        ctx.mark_non_differentiable(weights)
        return states[1:], contexts, weights, cells[-1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Runs the loop backwards, then computes the gradients of all positions at once."""
        queries, kept, states, cells, contexts, weights, vector, lengths, weight, context, keys, values = (
            ctx.saved_tensors
        )
        d_states, d_contexts, _, d_cell = gradients
        d_states, wide, own = d_states.contiguous(), ctx.wide, len(weight) > ctx.wide
        times, rows, _ = d_states.shape
        d_joint = weight.new_empty((times, rows, len(weight)))
        d_gates = d_joint[:, :, :wide] if ctx.lstm else weight.new_empty((times, rows, wide))
        d_queries = d_joint[:, :, wide:] if own else weight.new_empty(queries.shape)
        d_looked, d_scores = torch.empty_like(contexts), torch.empty_like(weights)
        d_hidden, nothing = d_states[-1], torch.zeros_like(d_states[0])
        for time in reversed(range(times)):
            before = d_states[time - 1] if time else nothing
            before, d_cell = _unit_backward(
                ctx.lstm, time, kept, states, cells, d_hidden, d_cell, before, d_gates, d_joint[:, :, :wide]
            )
            torch.addmm(d_contexts[time], d_gates[time], context, out=d_looked[time])
            _look_backward(
                queries[time], keys, vector, values, lengths, weights[time], d_looked[time], d_scores[time],
                d_queries[time], ctx.scale,
            )  # fmt: skip
            d_hidden = torch.addmm(before, d_joint[time], weight)
            if not own:
                d_hidden += d_queries[time]
        d_keys, d_vector = _keys_backward(queries, keys, vector, d_scores, ctx.scale)
        d_values = torch.bmm(weights.permute(1, 2, 0).to(values.dtype), d_looked.transpose(0, 1))
        flat, flat_gates = d_joint.flatten(0, 1), d_gates.flatten(0, 1)
        d_weight, d_context = flat.t() @ states[:-1].flatten(0, 1), flat_gates.t() @ contexts.flatten(0, 1)
        firsts = (d_gates, d_cell if ctx.lstm else None, d_vector, None, None, d_hidden)
        return *firsts, d_weight, flat.sum(0), d_context, d_keys, d_values


def _look_backward(*arguments: Any) -> None:
    from nmt.fast.triton.look import look_backward

    look_backward(*arguments)


def _unit_backward(
    is_lstm: bool, time: int, kept: Tensor, states: Tensor, cells: Tensor, d_hidden: Tensor, d_cell: Tensor,
    before: Tensor, d_gates: Tensor, d_recurrent: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Returns gradients of the old state so far and of the old cell, and fills those of the position's sums."""
    from nmt.fast.triton.cells import gru_backward, lstm_backward

    if is_lstm:
        d_old_cell = torch.empty_like(cells[0])
        lstm_backward(kept[time], cells[time], cells[time + 1], d_hidden, d_cell, d_gates[time], d_old_cell)
        return before, d_old_cell
    d_old = torch.empty_like(d_hidden)
    gru_backward(kept[time], states[time], d_hidden, before, d_gates[time], d_recurrent[time], d_old)
    return d_old, d_cell


def _keys_backward(
    queries: Tensor, keys: Tensor, vector: Tensor | None, d_scores: Tensor, scale: float
) -> tuple[Tensor, Tensor | None]:
    """Returns the gradients of keys and vector from those of the scores (T, B, S)."""
    from nmt.fast.triton.look import additive_keys

    if vector is not None:
        return additive_keys(queries, keys, vector, d_scores)
    by_sentence = d_scores.permute(1, 2, 0).to(keys.dtype)  # (B, S, T)
    return torch.bmm(by_sentence, queries.transpose(0, 1)) * scale, None
