"""One position of the attention decoder (Bahdanau et al. 2015) in few GPU operations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nmt.decoding.device.beams import Beams
from nmt.models.rnn.decoder import AttentionDecoder
from nmt.models.rnn.scores import AdditiveScore, BilinearScore, DotScore
from nmt.models.rnn.weighting import Softmax

# R rows, H hidden, A width of queries and keys, C width of values, G gates of the recurrent unit


class Attending:
    """The lowest layer of an attention decoder, with all products of the old state joined into one."""

    def __init__(self, decoder: AttentionDecoder) -> None:
        """See `attending_of`."""
        self.decoder, score = decoder, decoder.score
        weight: Tensor = decoder.recurrent.weight
        bias: Tensor = decoder.recurrent.bias
        self.gates = len(bias)
        self.vector: Tensor | None = None
        self.scale = score.scale if isinstance(score, DotScore) else 1.0
        if isinstance(score, AdditiveScore):
            self.vector = score.combine.weight[0].contiguous()
            weight = torch.cat([weight, score.query.weight])
            bias = torch.cat([bias, bias.new_zeros(len(self.vector))])
        self.weight, self.bias = weight.t(), bias

    def __call__(
        self,
        embedded: Tensor,
        old: Sequence[Tensor],
        new: Sequence[Tensor],
        sources: tuple[Tensor, Tensor],
        beams: Beams,
    ) -> Tensor:
        """Writes the new state and returns the contexts (R, C).

        Args:
            embedded: (R, E) embedded input tokens of the rows.
            old: the state, and the cell of an LSTM, each (R, H).
            new: shaped as `old`; written.
            sources: keys (tokens, A) and values (tokens, C) of all sources, end to end.
            beams: its owners map rows to sources.
        """
        from nmt.fast.triton.steps import look_at_source, recurrent_unit

        keys, values = sources
        queue = beams.queue
        joint = torch.addmm(self.bias, old[0], self.weight)  # (R, G * H + A), or G * H alone
        query = old[0] if self.vector is None else joint[:, self.gates :]
        places = (beams.owners, queue.offsets, queue.lengths)
        contexts: Tensor = look_at_source(query, keys, self.vector, values, *places, self.scale)
        gates = torch.addmm(self.decoder.input(embedded), contexts, self.decoder.context.weight.t())
        cells = (old[1], new[1]) if len(old) > 1 else (None, None)
        recurrent_unit(gates, joint[:, : self.gates], old[0], cells[0], new[0], cells[1])
        return contexts


def attending_of(decoder: object) -> Attending | None:
    """Returns the fast lowest layer of a decoder; None: its score or weighting is not supported."""
    if not isinstance(decoder, AttentionDecoder) or not isinstance(decoder.weighting, Softmax):
        return None
    return Attending(decoder) if type(decoder.score) in (AdditiveScore, DotScore, BilinearScore) else None
