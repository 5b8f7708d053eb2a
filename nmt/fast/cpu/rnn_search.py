"""A recurrent model in search on a CPU with kernels: a step is one call, and only states follow the hypotheses.

A matrix times a context equals a mean over that matrix times the source states, which is computed once per sentence.
Values between layers are in fp32, whatever the type of the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nmt.fast.cpu.exponential_score import ExponentialScore
from nmt.fast.cpu.linear import TiledInt8Linear, TiledLinear
from nmt.fast.cpu.rnn_parts import RecurrentParts
from nmt.fast.kernels import Kernels, kernels_for
from nmt.fast.kernels.layout import LANES
from nmt.fast.kernels.rnn_search import SCORES, RnnSources
from nmt.fast.kernels.stepping import Rows
from nmt.models.protocol import padding_mask
from nmt.models.rnn.decoder import BottleneckDecoder
from nmt.models.rnn.model import RnnSeq2Seq
from nmt.models.rnn.state import RnnMemory

# B sentences, S source positions, R = B * beam rows, E embedding, H hidden, L layers, C width of the encoder's states
# F width of the products of matrices and a context


class RnnByKernels:
    """A recurrent encoder-decoder in the protocol of search; it shares encoder and output layer with the original."""

    def __init__(self, model: RnnSeq2Seq, kernels: Kernels) -> None:
        self.model, self.kernels = model, kernels
        self._parts = RecurrentParts(model)
        self._table = model.source_embedding.weight.float()

    def encode(self, source: Tensor, lengths: Tensor) -> RnnMemory:
        """See `Seq2Seq.encode`; states at padding are zero."""
        model, encoder, hidden = self.model, self.model.encoder, self.model.config.hidden
        states, lengths = self._table[source], lengths.long().contiguous()  # (B, S, E)
        finals: list[Tensor] = []
        for readers in self._parts.readers:
            inputs, states = states.contiguous(), torch.zeros((*source.shape, encoder.width))  # (B, S, C)
            finals += [
                self.kernels.recurrent.read(reader, inputs, lengths, states, index * hidden)
                for index, reader in enumerate(readers)
            ]
        mask = padding_mask(lengths, source.shape[1], source.device)
        if encoder.summarise_max:
            finals.append(states.masked_fill(~mask[:, :, None], -torch.inf).amax(1))
        summary = torch.cat(finals, -1)
        if model.fixed_vector is not None:
            summary = model.fixed_vector(summary)
        return RnnMemory(summary, model.decoder.values(states), model.decoder.keys(states), mask)

    def start(self, memory: RnnMemory, beam: int) -> Rows[RnnSources]:
        """See `Seq2Seq.start`."""
        longest = memory.values.shape[1]
        lengths, keys, values = memory.mask.sum(1), memory.keys.float(), memory.values.float()
        if self._parts.decoder.look.covering:
            keys = ExponentialScore.exponential(keys)
        if isinstance(self.model.decoder, BottleneckDecoder):
            longest, values = 1, memory.summary.float()[:, None]
        if self._parts.decoder.look.heads <= 1:
            flat = values.flatten(0, 1).contiguous()
            values = self.kernels.multiply(self._parts.context.matrix(), flat, torch.float32)  # (B * S, F)
        kept = tuple(part.contiguous() for part in (lengths, keys, values))
        sources = RnnSources(longest, *[part.data_ptr() for part in kept])
        return Rows.first(sources, kept, self._first(memory), beam)

    def step(self, state: Rows[RnnSources], tokens: Tensor) -> tuple[Tensor, Rows[RnnSources]]:
        """See `Seq2Seq.step`."""
        hidden, states = self.kernels.recurrent.step(self._parts.decoder, state, tokens.contiguous())
        return self.model.output(hidden), state.after(states)

    def reorder(self, state: Rows[RnnSources], rows: Tensor, beam: int) -> Rows[RnnSources]:
        """See `Seq2Seq.reorder`."""
        return state.reordered(rows, beam)

    def _first(self, memory: RnnMemory) -> Tensor:
        """Returns the first states of sentences, (B, numbers of a state); see `rnn_call` of rnn.c."""
        carry = self.model.first(memory)
        layers = torch.stack(carry.hidden, 1).permute(2, 0, 1, 3).flatten(1)  # (L, parts, B, H) to (B, L * parts * H)
        more = [part for part in (carry.fed, carry.coverage) if part is not None]
        return torch.cat([layers, *more], 1).float().contiguous()


def rnn_by_kernels(model: RnnSeq2Seq) -> RnnByKernels | None:
    """Returns the model with kernels; None: a width is no multiple of a vector, or they do not know the score."""
    config, decoder = model.config, model.decoder
    widths = [config.embedding, config.hidden]
    if config.attention == "multi_head":
        widths += [config.hidden // config.heads, decoder.context_width // config.heads]
    kernels = kernels_for(model.target_embedding.weight)
    tiled = isinstance(model.readout.state, TiledLinear | TiledInt8Linear)
    known = config.attention in SCORES
    if kernels is None or not tiled or not known or any(width % LANES for width in widths):
        return None
    return RnnByKernels(model, kernels)
