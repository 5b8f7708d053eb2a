"""The Transformer of search as compiled code: the encoder, what the decoder keeps of the source, and a step of the decoder."""

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
    """What the rows of a step go on from."""

    steps: Sequence[Tensor]
    """Of each position keys and values (layers, rows of that step, 2 * D); the last one is to be filled."""
    past: Tensor
    """(rows before, T - 1) int32, which row of each step was a row's own."""
    origins: Tensor
    """(R,) the row that each row goes on from."""


class TransformerKernels:
    """The functions of `encoder.c` and `transformer.c`; all numbers are in fp32, whatever the weights are in."""

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
        """States (B, S, D) of tokens (B, S), of which lengths (B,) count; zero at padding.

        Args:
            encoder: all layers.
            tokens: int64, contiguous.
            lengths: int64.
            added: (at least S, D) what positions add to embeddings, if they are added.
            turns: (at least S, K) cosines and sines of each position, if they are rotary.
        """
        (sentences, longest), threads = tokens.shape, torch.get_num_threads()
        states = torch.empty((sentences, longest, encoder.width), dtype=torch.float32)
        room = torch.empty(self._encoder_room(encoder, longest, threads), dtype=torch.float32)
        given = (tokens.data_ptr(), lengths.data_ptr(), sentences, longest, _place(added), _place(turns))
        self._encode(encoder, *given, threads, room.data_ptr(), states.data_ptr())
        return states

    def project_source(self, decoder: Stack, states: Tensor, lengths: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Of each layer keys (B, D, S filled up to whole vectors) and values (B, S, D) of states (B, S, D)."""
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
        """Hidden states (R, D) after the last token of each row, and its past (R, T) with this position.

        Args:
            decoder: all layers.
            sources: what they attend to.
            owners: (B,) the place of each sentence among the sources.
            tokens: (R,)
            added: (D,) what this position adds to embeddings, if positions are added.
            turns: (K,) cosines and sines of this position, if positions are rotary.
            history: what the rows go on from.
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
