"""C structures of models, and the layers of a model in this form."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from torch import Tensor, nn

_long, _int, _float, _place = ctypes.c_long, ctypes.c_int32, ctypes.c_float, ctypes.c_void_p


class Matrix(ctypes.Structure):
    """`matrix` of products.h."""

    _fields_ = [
        ("inputs", _long),
        ("outputs", _long),
        ("kind", _int),
        ("relu", _int),
        ("zero", _int),
        ("weight", _place),
        ("bias", _place),
        ("scales", _place),
        ("sums", _place),
    ]


class Norm(ctypes.Structure):
    """`norm` of layers.h."""

    _fields_ = [("kind", _int), ("epsilon", _float), ("weight", _place), ("bias", _place)]


LANES = 16
"""Whole vectors are multiples of this many numbers, on any CPU; so is the width of a head."""
_MATRICES = ("projection", "self_output", "query", "memory", "cross_output", "inner", "outer")


class Layer(ctypes.Structure):
    """`layer` of layers.h."""

    _fields_ = [
        *((name, Matrix) for name in _MATRICES),
        *((name, Norm) for name in ("self_norm", "cross_norm", "feed_norm")),
    ]


class Stack(ctypes.Structure):
    """`stack` of layers.h: an encoder, or a decoder."""

    _fields_ = [
        *((name, _long) for name in ("width", "heads", "feed_forward", "layers")),
        *((name, _int) for name in ("pre", "residual", "gelu", "rotary", "alibi")),
        *((name, _float) for name in ("self_scale", "cross_scale", "embedding_scale")),
        ("table", _place),
        ("last", Norm),
        ("layer", ctypes.POINTER(Layer)),
    ]


class Sources(ctypes.Structure):
    """`sources` of transformer.c."""

    _fields_ = [
        ("longest", _long),
        ("padded", _long),
        ("lengths", _place),
        ("keys", ctypes.POINTER(_place)),
        ("values", ctypes.POINTER(_place)),
    ]


def places(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    """Returns the addresses of tensors as an array."""
    return (_place * len(tensors))(*[tensor.data_ptr() for tensor in tensors])


def norm_of(module: nn.Module) -> Norm:
    """Describes a norm to the kernels; its weights must be contiguous, in fp32, and outlive the result."""
    match module:
        case nn.LayerNorm():
            return Norm(1, module.eps, module.weight.data_ptr(), module.bias.data_ptr())
        case nn.RMSNorm():
            return Norm(2, module.eps or 0.0, module.weight.data_ptr(), None)
        case _:
            return Norm(0, 0.0, None, None)


class FinishedTable(ctypes.Structure):
    """`finished` of beam.c."""

    _fields_ = [
        *((name, _long) for name in ("beam", "longest", "best")),
        ("by_count", _int),
        ("end", ctypes.c_int64),
        *((name, _place) for name in ("limits", "divisors", "scores", "log_probabilities", "tokens", "lengths", "cut")),
    ]


class Extensions(ctypes.Structure):
    """`extensions` of beam.c."""

    _fields_ = [
        *((name, _long) for name in ("sentences", "beam", "count")),
        *((name, _place) for name in ("values", "origins", "tokens", "numbers", "history")),
    ]


class Hypotheses(ctypes.Structure):
    """`hypotheses` of beam.c."""

    _fields_ = [(name, _place) for name in ("scores", "rows", "tokens", "numbers", "history")]


class Searching(ctypes.Structure):
    """`searching` of search.c."""

    _fields_ = [
        *((name, _long) for name in ("sentences", "beam", "length", "count")),
        *((name, _place * 2) for name in ("scores", "numbers", "history", "past")),
        *((name, _place) for name in ("rows", "tokens", "steps", "row_counts", "added", "turns", "values", "origins")),
        *((name, _place) for name in ("said", "flags", "hidden", "logits", "room")),
    ]
