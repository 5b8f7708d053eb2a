"""One step of a decoder with states, as compiled code: the rows that it continues, and the call."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from nmt.models.protocol import sentences_of

# B sentences, R = B * beam rows, E embedding

Sources = TypeVar("Sources", bound=ctypes.Structure)


@dataclass(frozen=True)
class Rows(Generic[Sources]):
    """R rows in the middle of decoding."""

    sources: Sources
    kept: tuple[object, ...]
    """Keeps alive the tensors that the sources point to."""
    owners: Tensor
    """(B,) index of each sentence's source."""
    states: Tensor
    """(rows of the last step, numbers of a state)"""
    origins: Tensor
    """(R,) the row of the last step that each row continues."""
    position: int
    """Number of tokens before."""
    beam: int

    @classmethod
    def first(cls, sources: Sources, kept: tuple[object, ...], states: Tensor, beam: int) -> Rows[Sources]:
        """Returns the rows before the first step, from one state per sentence."""
        sentences = torch.arange(len(states))
        return cls(sources, kept, sentences, states, sentences.repeat_interleave(beam), 0, beam)

    def after(self, states: Tensor) -> Rows[Sources]:
        """Returns the rows after a step that has made new states."""
        return replace(self, states=states, origins=torch.arange(len(states)), position=self.position + 1)

    def reordered(self, rows: Tensor, beam: int) -> Rows[Sources]:
        """See `Seq2Seq.reorder`."""
        owners = self.owners
        if len(rows) != len(owners) * beam:
            owners = owners[sentences_of(rows, self.beam, beam)]
        return replace(self, owners=owners, origins=self.origins[rows], beam=beam)


class Stepping:
    """`nmt_NAME_step` of a family, with the memory that it asks for."""

    def __init__(self, library: ctypes.CDLL, name: str, *structures: type[ctypes.Structure]) -> None:
        """Takes the structures of a decoder, of its sources and of a call."""
        self._step, self._room = getattr(library, f"nmt_{name}_step"), getattr(library, f"nmt_{name}_room")
        self._call, pointers = structures[-1], [ctypes.POINTER(kind) for kind in structures]
        self._step.argtypes, self._step.restype = [*pointers, ctypes.c_long, ctypes.c_int32, ctypes.c_void_p], None
        self._room.argtypes, self._room.restype = [pointers[0], *[ctypes.c_long] * 3], ctypes.c_long

    def __call__(self, decoder: Any, rows: Rows[Any], tokens: Tensor, **more: int) -> tuple[Tensor, Tensor]:
        """Returns hidden states (R, E) after the last token of each row (R,), and the new states of the rows.

        `more` are the fields of the call that not every family has.
        """
        count, threads = len(tokens), torch.get_num_threads()
        after = torch.empty((count, rows.states.shape[1]), dtype=torch.float32)
        hidden = torch.empty((count, decoder.embedding), dtype=torch.float32)
        room = torch.empty(self._room(decoder, count, rows.sources.longest, threads), dtype=torch.float32)
        parts = {"owners": rows.owners, "tokens": tokens, "origins": rows.origins, "before": rows.states}
        places = {name: part.data_ptr() for name, part in (parts | {"after": after, "out": hidden}).items()}
        call = self._call(beam=count // len(rows.owners), **places, **more)
        self._step(decoder, rows.sources, call, count, threads, room.data_ptr())
        return hidden, after
