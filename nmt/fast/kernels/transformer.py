"""The Transformer in search as compiled code: the encoder, the projection of the source, and a decoder step."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.fast.kernels.layout import LANES, Sources, Stack, places

# B sentences, S source positions, R = B * beam rows, T target positions so far, D width, K width of a head


@dataclass(frozen=True)
class History:
    """The state that the rows of a step continue."""

    steps: Sequence[Tensor]
    """Keys and values of each position (layers, rows of that step, 2 * D); the last is filled by the step."""
    past: Tensor
    """(rows of the last step, T - 1) int32, the row of each step that is the past of this row."""
    origins: Tensor
    """(R,) the row of the last step that each row continues."""


class TransformerKernels:
    """The functions of `encoder.c` and `transformer.c`; all values are fp32, whatever the type of the weights."""

    def __init__(self, library: ctypes.CDLL) -> None:
        number, pointer, threads = ctypes.c_long, ctypes.c_void_p, ctypes.c_int
        stack, sources = ctypes.POINTER(Stack), ctypes.POINTER(Sources)
        self._encode, self._project = library.nmt_encode, library.nmt_project_source
        self._encode.argtypes = [stack, pointer, pointer, number, number, pointer, pointer, threads, pointer, pointer]
        self._project.argtypes = [stack, pointer, pointer, number, number, number, threads, *[pointer] * 3]
        self._step = library.nmt_transformer_step
        self._step.argtypes = [stack, sources, pointer, number, *[pointer] * 8, number, number, threads, *[pointer] * 2]
        self._encoder_room, self._step_room = library.nmt_encoder_room, library.nmt_transformer_room
        self._encoder_room.argtypes, self._encoder_room.restype = [stack, number, number], number
        self._step_room.argtypes, self._step_room.restype = [stack, number, number, number], number
        for function in (self._encode, self._project, self._step):
            function.restype = None

    def encode(
        self, encoder: Stack, tokens: Tensor, lengths: Tensor, added: Tensor | None, turns: Tensor | None
    ) -> Tensor:
        """Encodes tokens (B, S), of which the first `lengths` (B,) are real: (B, S, D), zero at padding.

        Args:
            encoder: all layers.
            tokens: int64, contiguous.
            lengths: int64.
            added: (at least S, D) position embeddings; None: positions are not added.
            turns: (at least S, K) cosines and sines of each position; None: positions are not rotary.
        """
        (sentences, longest), threads = tokens.shape, torch.get_num_threads()
        states = torch.empty((sentences, longest, encoder.width), dtype=torch.float32)
        room = torch.empty(self._encoder_room(encoder, longest, threads), dtype=torch.float32)
        given = (tokens.data_ptr(), lengths.data_ptr(), sentences, longest, _place(added), _place(turns))
        self._encode(encoder, *given, threads, room.data_ptr(), states.data_ptr())
        return states

    def project_source(self, decoder: Stack, states: Tensor, lengths: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Projects states (B, S, D) to each layer's keys (B, D, S padded to whole vectors) and values (B, S, D)."""
        (sentences, longest, width), threads = states.shape, torch.get_num_threads()
        padded = longest + -longest % LANES
        keys = [torch.empty((sentences, width, padded), dtype=torch.float32) for _ in range(decoder.layers)]
        values = [torch.empty((sentences, longest, width), dtype=torch.float32) for _ in range(decoder.layers)]
        room = torch.empty(self._encoder_room(decoder, longest, threads), dtype=torch.float32)
        given = (states.data_ptr(), lengths.data_ptr(), sentences, longest, padded, threads, room.data_ptr())
        self._project(decoder, *given, places(keys), places(values))
        return keys, values

    def step(
        self,
        decoder: Stack,
        sources: Sources,
        owners: Tensor,
        tokens: Tensor,
        added: Tensor | None,
        turns: Tensor | None,
        history: History,
    ) -> tuple[Tensor, Tensor]:
        """Returns hidden states (R, D) after the last token of each row, and the rows' past (R, T) with this position.

        Args:
            decoder: all layers.
            sources: the encoded sources.
            owners: (B,) index of each sentence's source.
            tokens: (R,)
            added: (D,) embedding of this position; None: positions are not added.
            turns: (K,) cosines and sines of this position; None: positions are not rotary.
            history: the state of the rows.
        """
        steps, rows, threads = history.steps, len(tokens), torch.get_num_threads()
        length = len(steps)
        hidden, past = (
            torch.empty((rows, decoder.width), dtype=torch.float32),
            torch.empty((rows, length), dtype=torch.int32),
        )
        room = torch.empty(self._step_room(decoder, rows, max(length, sources.longest), threads), dtype=torch.float32)
        counts = (ctypes.c_long * length)(*[step.shape[1] for step in steps])
        self._step(
            decoder,
            sources,
            owners.data_ptr(),
            rows // len(owners),
            tokens.data_ptr(),
            _place(added),
            _place(turns),
            places(steps),
            counts,
            history.past.data_ptr(),
            history.origins.data_ptr(),
            past.data_ptr(),
            length,
            rows,
            threads,
            room.data_ptr(),
            hidden.data_ptr(),
        )
        return hidden, past


def _place(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
