"""The C sources of convolutional decoders, called from Python: their structures, and a step."""

from __future__ import annotations

import ctypes

from torch import Tensor

from nmt.fast.kernels.layout import Matrix
from nmt.fast.kernels.stepping import Rows, Stepping

_long, _place = ctypes.c_long, ctypes.c_void_p


class ConvolutionLayer(ctypes.Structure):
    """`convolution_layer` of convolution.c."""

    _fields_ = [(name, Matrix) for name in ("past", "newest", "query")]


class ConvolutionDecoder(ctypes.Structure):
    """`convolution` of convolution.c."""

    _fields_ = [
        *((name, _long) for name in ("embedding", "hidden", "layers", "reach")),
        ("table", _place),
        *((name, Matrix) for name in ("input", "output")),
        ("layer", ctypes.POINTER(ConvolutionLayer)),
    ]


class ConvolutionSources(ctypes.Structure):
    """`convolution_sources` of convolution.c."""

    _fields_ = [
        ("longest", _long),
        *((name, _place) for name in ("lengths", "keys")),
        ("values", ctypes.POINTER(_place)),
    ]


class _Call(ctypes.Structure):
    """`convolution_call` of convolution.c."""

    _fields_ = [
        ("beam", _long),
        *((name, _place) for name in ("owners", "tokens", "origins", "place", "before", "after", "out")),
    ]


class ConvolutionKernels:
    """The functions of convolution.c."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._step = Stepping(library, "convolution", ConvolutionDecoder, ConvolutionSources, _Call)

    def step(
        self, decoder: ConvolutionDecoder, rows: Rows[ConvolutionSources], tokens: Tensor, place: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Stepping`; `place` is the embedding (E,) of the position. A state is the last inputs of each layer."""
        return self._step(decoder, rows, tokens, place=place.data_ptr())
