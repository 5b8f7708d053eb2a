"""A decoder for the hypotheses of `Beams`: the sources of a whole queue first, then logits, step by step, always in place."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from nmt.decoding.device.beams import Beams, Room
from nmt.decoding.device.convolution import ConvolutionSteps
from nmt.decoding.device.rnn import RnnSteps
from nmt.decoding.device.transformer import TransformerSteps
from nmt.models import Convolution, RnnSeq2Seq, Transformer
from nmt.models.protocol import Seq2Seq

# B sentences, S source positions, R rows, V vocabulary


class Steps(Protocol):
    """What search on a device needs of a decoder."""

    def reserve(self, room: Room) -> None:
        """Takes the memory that a search needs."""
        ...

    def load(self, first: int, offset: int, source: Tensor, lengths: Tensor) -> None:
        """Encodes sentences of the queue, from number `first` on.

        Args:
            first: number of the first sentence.
            offset: source tokens of all sentences before it.
            source: (B, S) token ids, padded.
            lengths: (B,) source lengths, on the CPU.
        """
        ...

    def step(self, beams: Beams) -> Tensor:
        """Logits (R, V) of what follows the tokens of all rows."""
        ...

    def bytes(self, room: Room) -> int:
        """Memory that `reserve` takes."""
        ...


def steps_for(model: Seq2Seq[Any, Any]) -> Steps | None:
    """The decoder of a model for search on its device; None: there is none for such a model."""
    match model:
        case Transformer():
            return TransformerSteps(model)
        case RnnSeq2Seq() if (
            model.config.weighting != "local_monotonic"
        ):  # whose window is that of one position for all rows
            return RnnSteps(model)
        case Convolution():
            return ConvolutionSteps(model)
        case _:
            return None
