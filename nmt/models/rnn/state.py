"""What the recurrent decoders share: what they read, what they carry from word to word, what they hand on."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nmt.config.model import RnnConfig
from nmt.runtime.cpu import has_fast_bf16

# B sentences, S source positions, T target positions, R = B * beam rows, H hidden, L layers
# C width of the encoder's states (2H when it reads both ways), A width of the keys

Hidden = tuple[Tensor, ...]  # recurrent state of all layers: (h,) of a GRU or (h, c) of an LSTM, each (L, R, H)


@dataclass(frozen=True)
class RnnMemory:
    """What the decoder may see of B source sentences."""

    summary: Tensor
    """(B, M) the fixed vector, or with attention the last states, for the first decoder state."""
    values: Tensor
    """(B, S, C) encoder states, one a position."""
    keys: Tensor
    """(B, S, A) what attention scores; without attention the values."""
    mask: Tensor
    """(B, S) True at real positions."""

    def select(self, sentences: Tensor) -> RnnMemory:
        """The memory of the given sentences."""
        parts = (self.summary, self.values, self.keys, self.mask)
        return RnnMemory(*(part.index_select(0, sentences) for part in parts))

    @property
    def bias(self) -> Tensor:
        """(B, 1, S) zero at real positions, -inf at padding."""
        zeros = torch.zeros(self.mask.shape, dtype=self.keys.dtype, device=self.keys.device)
        return zeros.masked_fill(~self.mask, -torch.inf)[:, None]


@dataclass(frozen=True)
class Carry:
    """What R rows take from one target position to the next."""

    hidden: Hidden
    position: int = 0
    coverage: Tensor | None = None
    """(R, S) the attention that each source position has had, where the score asks for it."""
    fed: Tensor | None = None
    """(R, H) the attentional state of the last position, with input feeding."""

    def repeated(self, beam: int) -> Carry:
        """Each row so many times."""
        coverage, fed = (
            None if part is None else part.repeat_interleave(beam, 0) for part in (self.coverage, self.fed)
        )
        return replace(
            self, hidden=tuple(part.repeat_interleave(beam, 1) for part in self.hidden), coverage=coverage, fed=fed
        )

    def select(self, rows: Tensor) -> Carry:
        """The given rows."""
        coverage, fed = (None if part is None else part.index_select(0, rows) for part in (self.coverage, self.fed))
        hidden = tuple(part.index_select(1, rows) for part in self.hidden)
        return replace(self, hidden=hidden, coverage=coverage, fed=fed)


@dataclass(frozen=True)
class RnnState:
    """R rows in the middle of decoding."""

    memory: RnnMemory
    carry: Carry
    beam: int


@dataclass(frozen=True)
class Decoded:
    """What a decoder hands to the readout, for T positions."""

    states: Tensor
    """(R, T, H) of the top layer."""
    contexts: Tensor
    """(R, T, C), or (R, 1, M) where the context is the fixed vector."""
    carry: Carry
    """After the last position."""
    weights: Sequence[Tensor] = ()
    """Attention at each position, (B, beam, S), or one tensor (B, T, S); none without attention."""
    drawn: Sequence[Tensor] = ()
    """Log-probabilities of what was drawn, as the weights, without S; none where nothing was."""


def recurrent(config: RnnConfig, width: int, layers: int) -> nn.RNNBase:
    """Torch's GRU or LSTM over inputs of a width."""
    kind = nn.GRU if config.cell == "gru" else nn.LSTM
    dropout = config.dropout if layers > 1 else 0.0
    return kind(width, config.hidden, layers, batch_first=True, dropout=dropout)


def run(rnn: nn.Module, inputs: Tensor, hidden: Hidden = ()) -> tuple[Tensor, Hidden]:
    """Runs torch's GRU or LSTM over inputs (R, T, ...) from a state, zeros if left out.

    On CUDA in the precision of its own weights, which is single (`for_inference` leaves it so). Under autocast cuDNN would
    take half precision, whose smallest gradients are zero, and weights in bf16 it would lay out anew at every call.
    """
    if not inputs.is_cuda:
        with _onednn_as_allowed():
            return _states(rnn, inputs, hidden)
    exact = next(rnn.parameters()).dtype
    with torch.autocast("cuda", enabled=False):
        states, after = _states(rnn, inputs.to(exact), tuple(part.to(exact) for part in hidden))
    dtypes = [part.dtype for part in hidden] or [inputs.dtype] * len(after)
    return states.to(inputs.dtype), tuple(part.to(dtype) for part, dtype in zip(after, dtypes, strict=True))


@contextmanager
def _onednn_as_allowed() -> Generator[None]:
    """Without oneDNN where NMT_ISA takes bf16 from it: torch asks the CPU alone whether it has bf16, and the LSTM fails."""
    if "NMT_ISA" not in os.environ or has_fast_bf16() or not torch.backends.mkldnn.enabled:
        yield
        return
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment] # torch declares the descriptor, not what it holds
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = True  # type: ignore[assignment]


def _states(rnn: nn.Module, inputs: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
    """All states, and the last of each layer."""
    first = tuple(part.contiguous() for part in hidden)
    states, after = rnn(inputs, (first if len(first) == 2 else first[0]) if first else None)
    return states, after if isinstance(after, tuple) else (after,)
