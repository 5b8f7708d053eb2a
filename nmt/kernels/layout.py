"""What the C sources know of a model: their structures, and the layers of a model as these."""

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
    """`norm` of transformer.c."""

    _fields_ = [("kind", _int), ("epsilon", _float), ("weight", _place), ("bias", _place)]


class Layer(ctypes.Structure):
    """`decoder_layer` of transformer.c."""

    _fields_ = [
        *((name, Matrix) for name in ("projection", "self_output", "query", "cross_output", "inner", "outer")),
        *((name, Norm) for name in ("self_norm", "cross_norm", "feed_norm")),
    ]


class Decoder(ctypes.Structure):
    """`decoder` of transformer.c."""

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
    """The addresses of tensors, as an array."""
    return (_place * len(tensors))(*[tensor.data_ptr() for tensor in tensors])


def norm_of(module: nn.Module) -> Norm:
    """A norm as the kernels read it; its weights must be contiguous, in fp32, and outlive the result."""
    match module:
        case nn.LayerNorm():
            return Norm(1, module.eps, module.weight.data_ptr(), module.bias.data_ptr())
        case nn.RMSNorm():
            return Norm(2, module.eps or 0.0, module.weight.data_ptr(), None)
        case _:
            return Norm(0, 0.0, None, None)
