"""The C sources of convolutional decoders, called from Python: their structures, and a step."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.fast.kernels.layout import Matrix

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


@dataclass(frozen=True)
class Windows:
    """The state that the rows of a step continue."""

    owners: Tensor
    """(B,) index of each sentence's source."""
    states: Tensor
    """(rows of the last step, layers * (W - 1) * H) the last inputs of each layer."""
    origins: Tensor
    """(R,) the row of the last step that each row continues."""
    position: int
    """Number of tokens before."""


class ConvolutionKernels:
    """The functions of convolution.c."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._step, self._room = library.nmt_convolution_step, library.nmt_convolution_room
        structures = [ctypes.POINTER(kind) for kind in (ConvolutionDecoder, ConvolutionSources, _Call)]
        self._step.argtypes, self._step.restype = [*structures, _long, ctypes.c_int32, _place], None
        self._room.argtypes, self._room.restype = [structures[0], *[_long] * 3], _long

    def step(
        self, decoder: ConvolutionDecoder, sources: ConvolutionSources, windows: Windows, tokens: Tensor, place: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns hidden states (R, E) after the last token of each row (R,), and the new states of the rows.

        Args:
            decoder: all layers.
            sources: the encoded sources.
            windows: the state of the rows.
            tokens: the last tokens.
            place: (E,) the position's embedding.
        """
        rows, threads = len(tokens), torch.get_num_threads()
        after = torch.empty((rows, windows.states.shape[1]), dtype=torch.float32)
        hidden = torch.empty((rows, decoder.embedding), dtype=torch.float32)
        room = torch.empty(self._room(decoder, rows, sources.longest, threads), dtype=torch.float32)
        parts = (windows.owners, tokens, windows.origins, place, windows.states, after, hidden)
        call = _Call(rows // len(windows.owners), *[part.data_ptr() for part in parts])
        self._step(decoder, sources, call, rows, threads, room.data_ptr())
        return hidden, after
