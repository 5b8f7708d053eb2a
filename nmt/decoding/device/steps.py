"""Decoders for the hypotheses of `Beams`: they load all sources of a queue, then return logits step by step, in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from nmt.decoding.device.beams import Beams, Room
from nmt.decoding.device.convolution import ConvolutionSteps
from nmt.decoding.device.rnn import RnnSteps
from nmt.decoding.device.transformer import TransformerSteps
from nmt.decoding.device.visual import VisualSteps
from nmt.models import Convolution, RnnSeq2Seq, Transformer, Visual
from nmt.models.protocol import Seq2Seq

# B sentences, S source positions, R rows, V vocabulary


class Steps(Protocol):
    """The methods that search on a device needs of a decoder."""

    def positions(self, ids: Sequence[list[int]]) -> list[int]:
        """Returns the number of positions that the decoder reads of each source."""
        ...

    def reserve(self, room: Room) -> None:
        """Allocates the memory of a search."""
        ...

    def load(self, first: int, offset: int, source: Tensor, lengths: Tensor) -> None:
        """Encodes sentences of the queue, from number `first` on.

        Args:
            first: number of the first sentence.
            offset: source positions of all sentences before it.
            source: (B, S) token ids, padded; or vectors (B, S, D) that take their place.
            lengths: (B,) source lengths, on the CPU.
        """
        ...

    def step(self, beams: Beams) -> Tensor:
        """Returns the logits (R, V) of the next token of all rows."""
        ...

    def bytes(self, room: Room) -> int:
        """Returns the bytes that `reserve` allocates."""
        ...


def steps_for(model: Seq2Seq[Any, Any]) -> Steps | None:
    """Returns the decoder of a model for search on its device; None: the model has none."""
    match model:
        case Transformer():
            return TransformerSteps(model)
        case RnnSeq2Seq() if (
            model.config.weighting != "local_monotonic"
        ):  # its window is centred on one position for all rows
            return RnnSteps(model)
        case Convolution():
            return ConvolutionSteps(model)
        case Visual():
            base = steps_for(model.base)
            return None if base is None else VisualSteps(model, base)
        case _:
            return None
