"""The recurrent encoder, and the one fixed vector that it may be summed up in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nmt.config.model import RnnConfig
from nmt.models.dropout import Dropout
from nmt.models.protocol import padding_mask
from nmt.models.rnn.state import recurrent, run


class Encoder(nn.Module):
    """Reads the source left to right, and right to left if bidirectional (Bahdanau et al. 2015, section 3.2).

    Each direction runs over the padded batch in one call; the right-to-left one over each sentence turned round within its
    length, so that padding comes last and never reaches a real state.
    """

    def __init__(self, config: RnnConfig) -> None:
        super().__init__()
        self.width = config.hidden * (2 if config.bidirectional else 1)
        self.reverse_source, self.summarise_max = config.reverse_source, config.summary == "max_and_last"
        self.dropout = Dropout(config.dropout)
        widths = [config.embedding] + [self.width] * (config.layers - 1)
        self.forwards = nn.ModuleList(recurrent(config, width, 1) for width in widths)
        self.backwards = nn.ModuleList(recurrent(config, width, 1) for width in widths if config.bidirectional)
        self.summary_width = self.width * config.layers + (self.width if self.summarise_max else 0)

    def forward(self, embedded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Returns states (B, S, C) and a summary (B, M) of embedded sources (B, S, E)."""
        lengths = lengths.to(embedded.device)
        turn = reversal(lengths, embedded.shape[1])  # (B, S)
        states = gather(embedded, turn) if self.reverse_source else embedded
        last = (lengths - 1)[:, None]  # (B, 1)
        finals: list[Tensor] = []
        for index, reader in enumerate(self.forwards):
            inputs = self.dropout(states) if index else states
            outputs = [run(reader, inputs)[0]]  # (B, S, H)
            finals.append(gather(outputs[0], last).squeeze(1))  # (B, H)
            if self.backwards:
                turned = run(self.backwards[index], gather(inputs, turn))[0]
                finals.append(gather(turned, last).squeeze(1))
                outputs.append(gather(turned, turn))
            states = torch.cat(outputs, -1)  # (B, S, C)
        if self.reverse_source:
            states = gather(states, turn)  # each beside its word again
        if self.summarise_max:
            real = padding_mask(lengths, states.shape[1], states.device)[:, :, None]
            finals.append(states.masked_fill(~real, -torch.inf).amax(1))  # (B, C)
        return states, torch.cat(finals, -1)

    if TYPE_CHECKING:
        __call__ = forward


class FixedVector(nn.Module):
    """c = tanh(V h): the only link from source to decoder (Cho et al. 2014, appendix A.1)."""

    def __init__(self, config: RnnConfig, encoder: Encoder) -> None:
        super().__init__()
        self.width = config.hidden
        self.linear = nn.Linear(encoder.summary_width, config.hidden)

    def forward(self, summary: Tensor) -> Tensor:
        """Maps a summary (B, M) to (B, H)."""
        return torch.tanh(self.linear(summary))

    if TYPE_CHECKING:
        __call__ = forward


def reversal(lengths: Tensor, width: int) -> Tensor:
    """Returns positions (B, S) that reverse each sentence within its length and leave padding in place."""
    positions = torch.arange(width, device=lengths.device)
    turned = lengths[:, None] - 1 - positions
    return torch.where(turned >= 0, turned, positions)


def gather(states: Tensor, positions: Tensor) -> Tensor:
    """Returns states[b, positions[b, p]]: (B, S, D) and (B, P) to (B, P, D)."""
    return states.gather(1, positions[:, :, None].expand(-1, -1, states.shape[2]))
