"""The functions of `recurrence.c`: a position of a recurrent decoder that attends to the source, while it is trained."""

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
    """What a decoder looks at: scores are v . tanh(q + k)."""

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
    """(B, G * H) of the word; rows may lie apart."""
    contexts: Tensor
    """(B, G * H)"""
    recurrent: Tensor
    """(B, G * H) of the state; rows may lie apart."""
    bias: Tensor
    """(G * H,) of the product of the state."""
    memory: Tensor
    """(B, H) c of an LSTM, h of a GRU."""
    active: Tensor
    """(B, 4 * H) is filled with what the way back has to know."""
    after: Tensor
    """(B, H) is filled with the next memory."""
    state: Tensor
    """(B, H) is filled with h, for products."""
    lstm: bool


class RecurrenceKernels:
    """These functions, of tensors on the CPU."""

    def __init__(self, library: ctypes.CDLL) -> None:
        looked, cell = ctypes.POINTER(_Looked), ctypes.POINTER(_Cell)
        self._look, self._look_back = library.nmt_look, library.nmt_look_back
        self._look.argtypes, self._look.restype = [looked, *[_place] * 3, _int], None
        self._look_back.argtypes = [looked, *[_place] * 4, ctypes.c_long, _place, _place, _int]
        self._cell, self._cell_back = library.nmt_cell, library.nmt_cell_back
        self._cell.argtypes, self._cell.restype = [cell, _int], None
        self._cell_back.argtypes, self._cell_back.restype = [cell, *[_place] * 4, _int], None
        self.portions = int(library.nmt_portions())
        """Parts in which the gradient of v is summed."""

    def look(self, source: Source, queries: Tensor, weights: Tensor, context: Tensor) -> None:
        """Fills weights (B, S) and context (B, C), which is like the values, of queries e^2q (B, A)."""
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
        """The way back from the gradient (B, C) of a context.

        Args:
            source: as for `look`.
            queries: as for `look`.
            weights: as `look` filled them.
            d_context: like the values.
            d_queries: (B, A) is filled with the gradient by q; rows may lie apart.
            sums: (B, S, A) and (portions, A), to which the gradients of k and v are added.
        """
        places = [part.data_ptr() for part in (queries, weights, d_context, d_queries)]
        added = [part.data_ptr() for part in sums]
        if self._look_back(_looked(source), *places, d_queries.stride(0), *added, torch.get_num_threads()):
            raise MemoryError("no memory for attention")

    def cell(self, cell: Cell) -> None:
        """Fills `active`, `after` and `state` of a cell."""
        self._cell(_cell(cell), torch.get_num_threads())

    def cell_back(self, cell: Cell, d_state: Tensor, d_memory: Tensor, d_inputs: Tensor, d_recurrent: Tensor) -> None:
        """The way back.

        Args:
            cell: as it was filled.
            d_state: (B, H) in fp32, by the next h.
            d_memory: (B, H) in fp32, by the next c of an LSTM; becomes that by the one before, for a GRU by the h before, as
                far as it does not go through a product.
            d_inputs: (B, G * H) is filled with the gradient of inputs and contexts.
            d_recurrent: (B, G * H) is filled with that of the product of the state; rows lie apart as those of `recurrent`.
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
