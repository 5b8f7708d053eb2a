"""Baselines of the benchmarks: code as people write it by hand, with the weights of our models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from nmt.config.model import RnnConfig
from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import EOS
from nmt.decoding.batches import padded
from nmt.decoding.beam_search import Hypothesis, beam_search
from nmt.errors import ConfigError
from nmt.models import Model
from nmt.models.protocol import Seq2Seq, sentences_of
from nmt.models.rnn.decoder import AttentionDecoder
from nmt.models.rnn.model import RnnSeq2Seq
from nmt.models.rnn.state import Decoded, RnnMemory, RnnState


@dataclass(frozen=True)
class TargetSoFar:
    """Source and target prefix of R rows."""

    source: Tensor
    lengths: Tensor
    target: Tensor


class PlainSearch:
    """An engine: beam search over an unchanged model, with torch's default products."""

    def __init__(self, model: Seq2Seq[Any, Any], device: torch.device) -> None:
        self.model, self.device = model, device

    def search(self, ids: list[list[int]], config: SearchConfig, best: int) -> list[list[Hypothesis]]:
        """See `Engine.search`."""
        source, lengths = padded(ids, before=-1, after=EOS)
        return beam_search(self.model, source.to(self.device), lengths, config, best)


class WithoutCache:
    """Decodes by running source and whole prefix again at every step."""

    def __init__(self, model: Model) -> None:
        self.model = model.eval()

    def encode(self, source: Tensor, lengths: Tensor) -> TargetSoFar:
        """Computes nothing ahead."""
        return TargetSoFar(source, lengths, source.new_zeros((len(source), 0)))

    def start(self, memory: TargetSoFar, beam: int) -> TargetSoFar:
        """Gives each row a copy of its source."""
        return TargetSoFar(
            *(part.repeat_interleave(beam, 0) for part in (memory.source, memory.lengths, memory.target))
        )

    def step(self, state: TargetSoFar, tokens: Tensor) -> tuple[Tensor, TargetSoFar]:
        """Runs the model on source and whole prefix."""
        target = torch.cat([state.target, tokens[:, None]], 1)
        logits = self.model.output(self.model(state.source, state.lengths, target)[:, -1])
        return logits, TargetSoFar(state.source, state.lengths, target)

    def reorder(self, state: TargetSoFar, rows: Tensor, beam: int) -> TargetSoFar:  # noqa: ARG002  # rows say all
        """Selects rows of the prefixes."""
        return TargetSoFar(*(part[rows] for part in (state.source, state.lengths, state.target)))


class CellLoop:
    """Batched decoding over `nn.LSTMCell` or `nn.GRUCell`, with keys projected once and torch's defaults."""

    def __init__(self, model: Model) -> None:
        if (
            not isinstance(model, RnnSeq2Seq)
            or not isinstance(model.decoder, AttentionDecoder)
            or _unusual(model.config)
        ):
            raise ConfigError(
                "the loop over cells is a yardstick for one-layer RNNs with attention as Bahdanau et al. have it"
            )
        self.model, self.decoder = model.eval(), model.decoder
        config = model.config
        kind = nn.LSTMCell if config.cell == "lstm" else nn.GRUCell
        self.cell = kind(config.embedding + self.decoder.context_width, config.hidden)
        with torch.no_grad():
            self.cell.weight_ih.copy_(torch.cat([self.decoder.input.weight, self.decoder.context.weight], 1))
            self.cell.bias_ih.copy_(self.decoder.input.bias)
            self.cell.weight_hh.copy_(self.decoder.recurrent.weight)
            self.cell.bias_hh.copy_(self.decoder.recurrent.bias)

    def encode(self, source: Tensor, lengths: Tensor) -> RnnMemory:
        """Runs the encoder and projects the keys, once."""
        return self.model.encode(source, lengths)

    def start(self, memory: RnnMemory, beam: int) -> RnnState:
        """See `RnnSeq2Seq.start`."""
        return self.model.start(memory, beam)

    def step(self, state: RnnState, tokens: Tensor) -> tuple[Tensor, RnnState]:
        """Computes attention, cell and readout of one position."""
        memory, hidden = state.memory, tuple(part[0] for part in state.carry.hidden)
        embedded = self.model.target_embedding(tokens)
        query = hidden[0].unflatten(0, (len(memory.values), -1))
        scores = self.decoder.score(query, memory.keys).masked_fill(~memory.mask[:, None], -torch.inf)
        context = torch.bmm(scores.softmax(-1), memory.values).flatten(0, 1)
        inputs = torch.cat([embedded, context], 1)
        after = self.cell(inputs, hidden if len(hidden) == 2 else hidden[0])
        after = after if isinstance(after, tuple) else (after,)
        carry = replace(state.carry, hidden=tuple(part[None] for part in after))
        top = self.model.readout(embedded[:, None], Decoded(after[0][:, None], context[:, None], carry))
        return self.model.output(top[:, 0]), replace(state, carry=carry)

    def reorder(self, state: RnnState, rows: Tensor, beam: int) -> RnnState:
        """Selects states of the rows, and memory where sentences have left."""
        left = len(rows) != len(state.memory.values) * beam
        memory = state.memory.select(sentences_of(rows, state.beam, beam)) if left else state.memory
        return RnnState(memory, state.carry.select(rows), beam)


def _unusual(config: RnnConfig) -> bool:
    return config.layers > 1 or config.weighting != "softmax" or config.values != "shared" or config.coverage
