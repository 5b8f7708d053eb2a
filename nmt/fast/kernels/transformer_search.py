"""Beam search with a Transformer as compiled code: several steps per call."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import torch
from torch import Tensor

from nmt.config.search import extensions_of
from nmt.corpus.tokenizer import BOS, PAD
from nmt.fast.kernels.layout import FinishedTable, Matrix, Searching, Sources, Stack

# N sentences, K beam, C extensions of a sentence, D width, V vocabulary

STEPS = 8
"""Steps per call; signals are handled between calls."""


class TransformerSearch:
    """`nmt_search` of search.c."""

    def __init__(self, library: ctypes.CDLL) -> None:
        number, pointer = ctypes.c_long, ctypes.POINTER
        self._search, self._room = library.nmt_search, library.nmt_transformer_room
        structures = pointer(Stack), pointer(Matrix), pointer(Sources), pointer(FinishedTable), pointer(Searching)
        self._search.argtypes = [*structures, *[number] * 3, ctypes.c_int]
        self._search.restype = number
        self._room.argtypes, self._room.restype = [pointer(Stack), number, number, number], number

    def __call__(
        self,
        decoder: Stack,
        output: Matrix,
        sources: Sources,
        finished: FinishedTable,
        sentences: int,
        added: Tensor | None,
        turns: Tensor | None,
    ) -> Iterator[int]:
        """Searches until all sentences are done; yields the number of open ones every few steps.

        Args:
            decoder: all layers.
            output: the projection to logits.
            sources: the encoded sources of all sentences.
            finished: finished hypotheses; changed.
            sentences: number of sentences, N.
            added: (longest, D) position embeddings; None: positions are not added.
            turns: (longest, width of a head) cosines and sines of each position; None: positions are not rotary.

        Raises:
            MemoryError: memory is used up.
        """
        threads, rows, longest = torch.get_num_threads(), sentences * finished.beam, finished.longest
        room = self._room(decoder, rows, max(longest, sources.longest), threads)
        state, kept = _beginning(decoder, output, finished, sentences, room)
        state.added = None if added is None else added.data_ptr()
        state.turns = None if turns is None else turns.data_ptr()
        steps = (ctypes.c_void_p * longest)()
        state.steps = ctypes.addressof(steps)
        for first in range(0, longest, STEPS):
            count = min(STEPS, longest - first)
            new = torch.empty(
                (count, decoder.layers, state.sentences * finished.beam, 2 * decoder.width), dtype=torch.float32
            )
            steps[first : first + count] = [step.data_ptr() for step in new]
            kept.append(new)
            given = (decoder, output, sources, finished, state, count, PAD, BOS, threads)
            if (left := self._search(*given)) < 0:
                raise MemoryError("no memory for the kernels")
            yield left
            if left == 0:
                return


def _beginning(
    decoder: Stack, output: Matrix, finished: FinishedTable, sentences: int, room: int
) -> tuple[Searching, list[Tensor]]:
    """Makes one empty hypothesis per sentence, with memory for the whole search, and returns the tensors that hold it."""
    beam, longest, rows = finished.beam, finished.longest, sentences * finished.beam
    count = extensions_of(beam)
    scores = torch.zeros((2, rows), dtype=torch.float64)
    integers = torch.empty((2, sentences + rows * longest), dtype=torch.long)  # numbers and history
    torch.arange(sentences, out=integers[0, :sentences])
    past = torch.empty((2, rows * longest), dtype=torch.int32)
    going = torch.empty((2, rows), dtype=torch.long)  # rows and tokens
    torch.arange(sentences, out=going[0, :sentences])
    going[1, :sentences] = BOS
    counts, flags = torch.empty(longest, dtype=torch.long), torch.empty(sentences, dtype=torch.uint8)
    values, choices = (
        torch.empty((sentences, count), dtype=torch.float64),
        torch.empty((2, sentences, count), dtype=torch.long),
    )
    numbers = torch.empty(
        rows * (decoder.width + output.outputs) + room, dtype=torch.float32
    )  # hidden states, logits and work memory
    hidden = numbers.data_ptr()
    logits = hidden + 4 * rows * decoder.width
    state = Searching(
        sentences=sentences,
        beam=1,
        length=0,
        count=count,
        scores=_pair(scores),
        numbers=_pair(integers),
        history=_pair(integers, sentences),
        past=_pair(past),
        rows=going[0].data_ptr(),
        tokens=going[1].data_ptr(),
        row_counts=counts.data_ptr(),
        values=values.data_ptr(),
        origins=choices[0].data_ptr(),
        said=choices[1].data_ptr(),
        flags=flags.data_ptr(),
        hidden=hidden,
        logits=logits,
        room=logits + 4 * rows * output.outputs,
    )
    return state, [scores, integers, past, going, counts, flags, values, choices, numbers]


def _pair(both: Tensor, first: int = 0) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * 2)(*[part.data_ptr() + first * both.itemsize for part in both])
