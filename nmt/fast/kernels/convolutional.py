"""The C sources of convolutional decoders, as Python calls them: their structures, and a step."""

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
    """What the rows of a step go on from."""

    owners: Tensor
    """(B,) which of the sources is each sentence's."""
    states: Tensor
    """(rows before, layers * (W - 1) * H) the last inputs of each layer."""
    origins: Tensor
    """(R,) which of them each row goes on from."""
    position: int
    """How many words were said before."""


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
        """Hidden states (R, E) after the last token of each row (R,), and the states of the rows.

        Args:
            decoder: all layers.
            sources: what they attend to.
            windows: what the rows go on from.
            tokens: the last ones.
            place: (E,) what their position adds to embeddings.
        """
        rows, threads = len(tokens), torch.get_num_threads()
        after = torch.empty((rows, windows.states.shape[1]), dtype=torch.float32)
        hidden = torch.empty((rows, decoder.embedding), dtype=torch.float32)
        room = torch.empty(self._room(decoder, rows, sources.longest, threads), dtype=torch.float32)
        parts = (windows.owners, tokens, windows.origins, place, windows.states, after, hidden)
        call = _Call(rows // len(windows.owners), *[part.data_ptr() for part in parts])
        self._step(decoder, sources, call, rows, threads, room.data_ptr())
        return hidden, after
