"""The C sources of recurrent decoders, called from Python: their structures, and a step."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from nmt.fast.kernels.layout import Matrix
from nmt.fast.kernels.stepping import Rows, Stepping

_long, _int, _float, _place = ctypes.c_long, ctypes.c_int32, ctypes.c_float, ctypes.c_void_p

GATES = {"gru": 3, "lstm": 4}
"""Number of gates of a recurrent unit, by which the kernels tell the units apart."""
SCORES = {"none": 0, "additive": 1, "dot": 2, "scaled_dot": 2, "bilinear": 2, "multi_head": 2, "location": 3}
"""Numbers of the score functions in the kernels."""
WEIGHTINGS = {"softmax": 0, "sparsemax": 1, "local_monotonic": 2, "local_predictive": 3, "hard": 4, "gumbel": 4}
"""Numbers of the weightings in the kernels, after training."""


class Looking(ctypes.Structure):
    """`looking` of looking.h."""

    _fields_ = [
        *((name, _int) for name in ("score", "weighting")),
        *((name, _long) for name in ("heads", "width", "window")),
        ("scale", _float),
        *((name, Matrix) for name in ("query", "guess", "context")),
        *((name, _place) for name in ("combine", "covering", "towards")),
    ]


class RnnDecoder(ctypes.Structure):
    """`rnn_decoder` of rnn.c."""

    _fields_ = [
        *((name, _long) for name in ("embedding", "hidden", "layers")),
        *((name, _int) for name in ("unit", "maxout", "previous", "gated", "feeding")),
        *((name, _long) for name in ("word_width", "word_readout", "context_width", "context_readout")),
        ("table", _place),
        ("word", Matrix),
        *((name, _place) for name in ("words", "known")),
        *((name, Matrix) for name in ("fed", "attentional", "read")),
        *((name, ctypes.POINTER(Matrix)) for name in ("recurrent", "upper")),
        ("look", Looking),
    ]


class RnnSources(ctypes.Structure):
    """`rnn_sources` of looking.h."""

    _fields_ = [("longest", _long), *((name, _place) for name in ("lengths", "keys", "values"))]


class _Call(ctypes.Structure):
    """`rnn_call` of rnn.c."""

    _fields_ = [
        *((name, _long) for name in ("beam", "position", "state")),
        *((name, _place) for name in ("owners", "tokens", "origins", "before", "after", "out")),
    ]


class Reader(ctypes.Structure):
    """`reader` of reading.c."""

    _fields_ = [("hidden", _long), ("unit", _int), ("backwards", _int), ("input", Matrix), ("recurrent", Matrix)]


class RecurrentKernels:
    """The functions of rnn.c and reading.c."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._step = Stepping(library, "rnn", RnnDecoder, RnnSources, _Call)
        self._read, self._reading_room = library.nmt_read, library.nmt_reading_room
        reader = ctypes.POINTER(Reader)
        self._read.argtypes, self._read.restype = [reader, *[_place] * 2, *[_long] * 3, _int, *[_place] * 3], None
        self._reading_room.argtypes, self._reading_room.restype = [reader, _long], _long

    def step(self, decoder: RnnDecoder, rows: Rows[RnnSources], tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See `Stepping`."""
        return self._step(decoder, rows, tokens, position=rows.position, state=rows.states.shape[1])

    def read(self, reader: Reader, inputs: Tensor, lengths: Tensor, states: Tensor, first: int) -> Tensor:
        """Reads sentences (B, S, I) and returns the last states (B, H); fills `states` (B, S, C) from column `first` on."""
        sentences, longest, width = states.shape
        last, threads = torch.empty((sentences, reader.hidden), dtype=torch.float32), torch.get_num_threads()
        room = torch.empty(self._reading_room(reader, threads), dtype=torch.float32)
        beginning = states.data_ptr() + first * states.element_size()
        shape = (sentences, longest, width, threads, room.data_ptr())
        self._read(reader, inputs.data_ptr(), lengths.data_ptr(), *shape, beginning, last.data_ptr())
        return last
