"""The elementwise part of recurrent units, after their products: LSTM and GRU, forward and backward."""

# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# Functions under @triton.jit are in Triton's language, whose tensors have no types.

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

# R rows, H hidden

_BLOCK = 256


@triton.jit
def tanh(x):
    """Returns the hyperbolic tangent."""
    return 1.0 - 2.0 / (tl.exp(2.0 * tl.minimum(tl.maximum(x, -15.0), 15.0)) + 1.0)


@triton.jit
def _gates(POINTER, row, stride, width, columns, inside, gate):
    """Loads one gate of one row."""
    return tl.load(POINTER + row.to(tl.int64) * stride + gate * width + columns, inside, 0.0).to(tl.float32)


@triton.jit
def _lstm(INPUT, RECURRENT, CELL, HIDDEN, NEW_CELL, KEPT, recurrent_stride, width, BLOCK: tl.constexpr):
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; KEPT gets the activated gates."""
    row, columns = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    i = _gates(INPUT, row, 4 * width, width, columns, inside, 0)
    f = _gates(INPUT, row, 4 * width, width, columns, inside, 1)
    g = _gates(INPUT, row, 4 * width, width, columns, inside, 2)
    o = _gates(INPUT, row, 4 * width, width, columns, inside, 3)
    i = tl.sigmoid(i + _gates(RECURRENT, row, recurrent_stride, width, columns, inside, 0))
    f = tl.sigmoid(f + _gates(RECURRENT, row, recurrent_stride, width, columns, inside, 1))
    g = tanh(g + _gates(RECURRENT, row, recurrent_stride, width, columns, inside, 2))
    o = tl.sigmoid(o + _gates(RECURRENT, row, recurrent_stride, width, columns, inside, 3))
    here = row * width + columns
    cell = f * tl.load(CELL + here, inside, 0.0).to(tl.float32) + i * g
    tl.store(NEW_CELL + here, cell.to(NEW_CELL.dtype.element_ty), inside)
    tl.store(HIDDEN + here, (o * tanh(cell)).to(HIDDEN.dtype.element_ty), inside)
    kept = KEPT + row.to(tl.int64) * 4 * width + columns
    tl.store(kept, i.to(KEPT.dtype.element_ty), inside)
    tl.store(kept + width, f.to(KEPT.dtype.element_ty), inside)
    tl.store(kept + 2 * width, g.to(KEPT.dtype.element_ty), inside)
    tl.store(kept + 3 * width, o.to(KEPT.dtype.element_ty), inside)


@triton.jit
def _lstm_backward(
    KEPT, CELL, NEW_CELL, D_HIDDEN, D_CELL, D_GATES, D_OLD_CELL, d_gates_stride, width, BLOCK: tl.constexpr
):
    """Computes gradients of the gate sums and of the old cell."""
    row, columns = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    i = _gates(KEPT, row, 4 * width, width, columns, inside, 0)
    f = _gates(KEPT, row, 4 * width, width, columns, inside, 1)
    g = _gates(KEPT, row, 4 * width, width, columns, inside, 2)
    o = _gates(KEPT, row, 4 * width, width, columns, inside, 3)
    here = row * width + columns
    d_hidden = tl.load(D_HIDDEN + here, inside, 0.0).to(tl.float32)
    bent = tanh(tl.load(NEW_CELL + here, inside, 0.0).to(tl.float32))
    d_cell = tl.load(D_CELL + here, inside, 0.0).to(tl.float32) + d_hidden * o * (1.0 - bent * bent)
    old = tl.load(CELL + here, inside, 0.0).to(tl.float32)
    tl.store(D_OLD_CELL + here, (d_cell * f).to(D_OLD_CELL.dtype.element_ty), inside)
    gates = D_GATES + row.to(tl.int64) * d_gates_stride + columns
    tl.store(gates, (d_cell * g * i * (1.0 - i)).to(D_GATES.dtype.element_ty), inside)
    tl.store(gates + width, (d_cell * old * f * (1.0 - f)).to(D_GATES.dtype.element_ty), inside)
    tl.store(gates + 2 * width, (d_cell * i * (1.0 - g * g)).to(D_GATES.dtype.element_ty), inside)
    tl.store(gates + 3 * width, (d_hidden * bent * o * (1.0 - o)).to(D_GATES.dtype.element_ty), inside)


@triton.jit
def _gru(INPUT, RECURRENT, OLD, HIDDEN, KEPT, recurrent_stride, width, BLOCK: tl.constexpr):
    """Cho et al. 2014, in cuDNN's form: the reset gate acts after the recurrent product. KEPT gets r, z, n and r's factor."""
    row, columns = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    r = _gates(INPUT, row, 3 * width, width, columns, inside, 0)
    z = _gates(INPUT, row, 3 * width, width, columns, inside, 1)
    n = _gates(INPUT, row, 3 * width, width, columns, inside, 2)
    r = tl.sigmoid(r + _gates(RECURRENT, row, recurrent_stride, width, columns, inside, 0))
    z = tl.sigmoid(z + _gates(RECURRENT, row, recurrent_stride, width, columns, inside, 1))
    part = _gates(RECURRENT, row, recurrent_stride, width, columns, inside, 2)
    n = tanh(n + r * part)
    here = row * width + columns
    old = tl.load(OLD + here, inside, 0.0).to(tl.float32)
    tl.store(HIDDEN + here, (n + z * (old - n)).to(HIDDEN.dtype.element_ty), inside)
    kept = KEPT + row.to(tl.int64) * 4 * width + columns
    tl.store(kept, r.to(KEPT.dtype.element_ty), inside)
    tl.store(kept + width, z.to(KEPT.dtype.element_ty), inside)
    tl.store(kept + 2 * width, n.to(KEPT.dtype.element_ty), inside)
    tl.store(kept + 3 * width, part.to(KEPT.dtype.element_ty), inside)


@triton.jit
def _gru_backward(
    KEPT, OLD, D_HIDDEN, MORE, D_INPUT, D_RECURRENT, D_OLD, d_recurrent_stride, width, BLOCK: tl.constexpr
):
    """Computes gradients of input and recurrent sums, and of the old state without the recurrent product; adds MORE."""
    row, columns = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    r = _gates(KEPT, row, 4 * width, width, columns, inside, 0)
    z = _gates(KEPT, row, 4 * width, width, columns, inside, 1)
    n = _gates(KEPT, row, 4 * width, width, columns, inside, 2)
    part = _gates(KEPT, row, 4 * width, width, columns, inside, 3)
    here = row * width + columns
    d_hidden = tl.load(D_HIDDEN + here, inside, 0.0).to(tl.float32)
    old = tl.load(OLD + here, inside, 0.0).to(tl.float32)
    more = tl.load(MORE + here, inside, 0.0).to(tl.float32)
    tl.store(D_OLD + here, (more + d_hidden * z).to(D_OLD.dtype.element_ty), inside)
    d_n = d_hidden * (1.0 - z) * (1.0 - n * n)
    d_z = (d_hidden * (old - n) * z * (1.0 - z)).to(D_INPUT.dtype.element_ty)
    d_r = (d_n * part * r * (1.0 - r)).to(D_INPUT.dtype.element_ty)
    entry = D_INPUT + row.to(tl.int64) * 3 * width + columns
    tl.store(entry, d_r, inside)
    tl.store(entry + width, d_z, inside)
    tl.store(entry + 2 * width, d_n.to(D_INPUT.dtype.element_ty), inside)
    again = D_RECURRENT + row.to(tl.int64) * d_recurrent_stride + columns
    tl.store(again, d_r, inside)
    tl.store(again + width, d_z, inside)
    tl.store(again + 2 * width, (d_n * r).to(D_RECURRENT.dtype.element_ty), inside)


def _grid(hidden: Tensor) -> tuple[int, int]:
    return len(hidden), triton.cdiv(hidden.shape[1], _BLOCK)


def lstm(gates: Tensor, recurrent: Tensor, cell: Tensor, hidden: Tensor, new_cell: Tensor, kept: Tensor) -> None:
    """Fills the new state (R, H), the new cell (R, H) and the values for the backward pass (R, 4 * H).

    Args:
        gates: (R, 4 * H) gate sums of the inputs: input, forget, candidate and output gate.
        recurrent: (R, 4 * H) products of the old state; rows may be strided.
        cell: (R, H)
        hidden: filled.
        new_cell: filled.
        kept: filled.
    """
    width = hidden.shape[1]
    _lstm[_grid(hidden)](gates, recurrent, cell, hidden, new_cell, kept, recurrent.stride(0), width, BLOCK=_BLOCK)


def lstm_backward(
    kept: Tensor, cell: Tensor, new_cell: Tensor, d_hidden: Tensor, d_cell: Tensor, d_gates: Tensor, d_old_cell: Tensor
) -> None:
    """Fills the gradients of the gate sums (R, 4 * H), which may be strided, and of the old cell (R, H)."""
    width = cell.shape[1]
    _lstm_backward[_grid(cell)](
        kept, cell, new_cell, d_hidden, d_cell, d_gates, d_old_cell, d_gates.stride(0), width, BLOCK=_BLOCK
    )


def gru(gates: Tensor, recurrent: Tensor, old: Tensor, hidden: Tensor, kept: Tensor) -> None:
    """Fills the new state (R, H) and the values for the backward pass (R, 4 * H).

    Args:
        gates: (R, 3 * H) gate sums of the inputs: reset and update gate, candidate.
        recurrent: (R, 3 * H) products of the old state; rows may be strided.
        old: (R, H)
        hidden: filled.
        kept: filled.
    """
    width = hidden.shape[1]
    _gru[_grid(hidden)](gates, recurrent, old, hidden, kept, recurrent.stride(0), width, BLOCK=_BLOCK)


def gru_backward(
    kept: Tensor, old: Tensor, d_hidden: Tensor, more: Tensor, d_gates: Tensor, d_recurrent: Tensor, d_old: Tensor
) -> None:
    """Fills the gradients of both sums (R, 3 * H) and of the old state (R, H).

    The last includes `more` (R, H), but not the part through the recurrent product.
    """
    width = old.shape[1]
    _gru_backward[_grid(old)](
        kept, old, d_hidden, more, d_gates, d_recurrent, d_old, d_recurrent.stride(0), width, BLOCK=_BLOCK
    )
