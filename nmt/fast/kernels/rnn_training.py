"""The functions of `recurrence.c`: one position of the attention decoder, in training."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

# B sentences, S source positions, A width of the keys, C width of the values, H hidden, G gates of the cell (GRU 3, LSTM 4)

_long, _int, _place = ctypes.c_long, ctypes.c_int32, ctypes.c_void_p


class _Looked(ctypes.Structure):
    """`looked_at` of recurrence.c."""

    _fields_ = [
        *((name, _long) for name in ("sentences", "longest", "width", "depth")),
        ("half", _int),
        *((name, _place) for name in ("keys", "combine", "values", "lengths")),
    ]


class _Cell(ctypes.Structure):
    """`cell` of recurrence.c."""

    _fields_ = [
        ("rows", _long),
        ("hidden", _long),
        ("half", _int),
        ("lstm", _int),
        *((name, _place) for name in ("inputs", "contexts", "recurrent")),
        ("input_step", _long),
        ("recurrent_step", _long),
        *((name, _place) for name in ("bias", "memory", "active", "after", "state")),
        ("state_step", _long),
    ]


@dataclass(frozen=True)
class Source:
    """The source that a decoder attends to; scores are v . tanh(q + k)."""

    keys: Tensor
    """(B, S, A) e^2k in fp32."""
    combine: Tensor
    """v (A,) in fp32."""
    values: Tensor
    """(B, S, C) in fp32 or bf16."""
    lengths: Tensor
    """(B,)"""


@dataclass(frozen=True)
class Cell:
    """One step of a cell: products in fp32 or bf16, the rest in fp32."""

    inputs: Tensor
    """(B, G * H) gate sums from the word; rows may be strided."""
    contexts: Tensor
    """(B, G * H)"""
    recurrent: Tensor
    """(B, G * H) gate sums from the state; rows may be strided."""
    bias: Tensor
    """(G * H,) bias of the product of the state."""
    memory: Tensor
    """(B, H) c of an LSTM, h of a GRU."""
    active: Tensor
    """(B, 4 * H), filled with values for the backward pass."""
    after: Tensor
    """(B, H), filled with the next memory."""
    state: Tensor
    """(B, H), filled with h in the type of products."""
    lstm: bool


class RecurrenceKernels:
    """The functions of `recurrence.c`, for CPU tensors."""

    def __init__(self, library: ctypes.CDLL) -> None:
        looked, cell = ctypes.POINTER(_Looked), ctypes.POINTER(_Cell)
        self._look, self._look_back = library.nmt_look, library.nmt_look_back
        self._look.argtypes, self._look.restype = [looked, *[_place] * 3, _int], None
        self._look_back.argtypes = [looked, *[_place] * 4, ctypes.c_long, _place, _place, _int]
        self._cell, self._cell_back = library.nmt_cell, library.nmt_cell_back
        self._cell.argtypes, self._cell.restype = [cell, _int], None
        self._cell_back.argtypes, self._cell_back.restype = [cell, *[_place] * 4, _int], None
        self.portions = int(library.nmt_portions())
        """Number of parts in which the gradient of v is summed."""

    def look(self, source: Source, queries: Tensor, weights: Tensor, context: Tensor) -> None:
        """Fills weights (B, S) and context (B, C), typed as the values, for queries e^2q (B, A)."""
        places = [part.data_ptr() for part in (queries, weights, context)]
        self._look(_looked(source), *places, torch.get_num_threads())

    def look_back(
        self,
        source: Source,
        queries: Tensor,
        weights: Tensor,
        d_context: Tensor,
        d_queries: Tensor,
        sums: tuple[Tensor, Tensor],
    ) -> None:
        """Computes gradients from the gradient (B, C) of a context.

        Args:
            source: as for `look`.
            queries: as for `look`.
            weights: as `look` filled them.
            d_context: typed as the values.
            d_queries: (B, A), filled with the gradient by q; rows may be strided.
            sums: (B, S, A) and (portions, A); the gradients of k and v are added to them.
        """
        places = [part.data_ptr() for part in (queries, weights, d_context, d_queries)]
        added = [part.data_ptr() for part in sums]
        if self._look_back(_looked(source), *places, d_queries.stride(0), *added, torch.get_num_threads()):
            raise MemoryError("no memory for attention")

    def cell(self, cell: Cell) -> None:
        """Fills `active`, `after` and `state` of a cell."""
        self._cell(_cell(cell), torch.get_num_threads())

    def cell_back(self, cell: Cell, d_state: Tensor, d_memory: Tensor, d_inputs: Tensor, d_recurrent: Tensor) -> None:
        """Computes the gradients of a cell.

        Args:
            cell: as filled by `cell`.
            d_state: (B, H) in fp32, the gradient by the next h.
            d_memory: (B, H) in fp32, the gradient by the next c of an LSTM; becomes that by the previous c, or for a GRU
                the gradient by the previous h without the part through products.
            d_inputs: (B, G * H), filled with the gradient of inputs and contexts.
            d_recurrent: (B, G * H), filled with the gradient of the product of the state; strided as `recurrent`.
        """
        places = [part.data_ptr() for part in (d_state, d_memory, d_inputs, d_recurrent)]
        self._cell_back(_cell(cell), *places, torch.get_num_threads())


def _looked(source: Source) -> _Looked:
    values = source.values
    places = [part.data_ptr() for part in (source.keys, source.combine, values, source.lengths)]
    return _Looked(*source.keys.shape, values.shape[2], values.dtype == torch.bfloat16, *places)


def _cell(cell: Cell) -> _Cell:
    rows, hidden = cell.memory.shape
    return _Cell(
        rows,
        hidden,
        cell.state.dtype == torch.bfloat16,
        cell.lstm,
        *(part.data_ptr() for part in (cell.inputs, cell.contexts, cell.recurrent)),
        cell.inputs.stride(0),
        cell.recurrent.stride(0),
        *(part.data_ptr() for part in (cell.bias, cell.memory, cell.active, cell.after, cell.state)),
        cell.state.stride(0),
    )
