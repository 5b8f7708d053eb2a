"""Types that the recurrent decoders share: memory, carried state and outputs."""

from __future__ import annotations

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
    """The encoded source, as the decoder sees it, for B sentences."""

    summary: Tensor
    """(B, M) the fixed vector, or with attention the encoder's last states; makes the first decoder state."""
    values: Tensor
    """(B, S, C) encoder states, one per position."""
    keys: Tensor
    """(B, S, A) the keys that attention scores; without attention the values."""
    mask: Tensor
    """(B, S) True at real positions."""

    def select(self, sentences: Tensor) -> RnnMemory:
        """Returns the memory of the given sentences."""
        parts = (self.summary, self.values, self.keys, self.mask)
        return RnnMemory(*(part.index_select(0, sentences) for part in parts))

    @property
    def bias(self) -> Tensor:
        """(B, 1, S) zero at real positions, -inf at padding."""
        zeros = torch.zeros(self.mask.shape, dtype=self.keys.dtype, device=self.keys.device)
        return zeros.masked_fill(~self.mask, -torch.inf)[:, None]


@dataclass(frozen=True)
class Carry:
    """The state that R rows carry from one target position to the next."""

    hidden: Hidden
    position: int = 0
    coverage: Tensor | None = None
    """(R, S) the attention that each source position has had so far, for scores that use it."""
    fed: Tensor | None = None
    """(R, H) the attentional state of the previous position, with input feeding."""

    def repeated(self, beam: int) -> Carry:
        """Repeats each row `beam` times."""
        coverage, fed = (
            None if part is None else part.repeat_interleave(beam, 0) for part in (self.coverage, self.fed)
        )
        return replace(
            self, hidden=tuple(part.repeat_interleave(beam, 1) for part in self.hidden), coverage=coverage, fed=fed
        )

    def select(self, rows: Tensor) -> Carry:
        """Selects the given rows."""
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
    """Outputs of a decoder for T positions, as the readout needs them."""

    states: Tensor
    """(R, T, H) states of the top layer."""
    contexts: Tensor
    """(R, T, C), or (R, 1, M) where the context is the fixed vector."""
    carry: Carry
    """The carry after the last position."""
    weights: Sequence[Tensor] = ()
    """Attention at each position, (B, beam, S), or one tensor (B, T, S); empty without attention."""
    drawn: Sequence[Tensor] = ()
    """Log-probabilities of drawn source positions, shaped as the weights without S; empty if nothing was drawn."""


def recurrent(config: RnnConfig, width: int, layers: int) -> nn.RNNBase:
    """Makes torch's GRU or LSTM for inputs of width `width`."""
    kind = nn.GRU if config.cell == "gru" else nn.LSTM
    dropout = config.dropout if layers > 1 else 0.0
    return kind(width, config.hidden, layers, batch_first=True, dropout=dropout)


def run(rnn: nn.Module, inputs: Tensor, hidden: Hidden = ()) -> tuple[Tensor, Hidden]:
    """Runs torch's GRU or LSTM over inputs (R, T, ...) from a state (default: zeros).

    On CUDA it runs in the precision of the unit's weights, which is single (`for_inference` leaves it so). Under autocast
    cuDNN would use half precision, where the smallest gradients become zero. Weights in bf16 it would rearrange at every call.
    """
    if not inputs.is_cuda:
        with _without_slow_bf16(inputs):
            return _states(rnn, inputs, hidden)
    exact = next(rnn.parameters()).dtype
    with torch.autocast("cuda", enabled=False):
        states, after = _states(rnn, inputs.to(exact), tuple(part.to(exact) for part in hidden))
    dtypes = [part.dtype for part in hidden] or [inputs.dtype] * len(after)
    return states.to(inputs.dtype), tuple(part.to(dtype) for part, dtype in zip(after, dtypes, strict=True))


@contextmanager
def _without_slow_bf16(inputs: Tensor) -> Generator[None]:
    """Turns oneDNN off in bf16 on a CPU that has none, or whose bf16 NMT_ISA forbids: its LSTM would fail there."""
    half = inputs.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    if not half or has_fast_bf16() or not torch.backends.mkldnn.enabled:
        yield
        return
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment] # torch declares the descriptor, not what it holds
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = True  # type: ignore[assignment]


def _states(rnn: nn.Module, inputs: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
    """Returns all states, and the last state of each layer."""
    first = tuple(part.contiguous() for part in hidden)
    states, after = rnn(inputs, (first if len(first) == 2 else first[0]) if first else None)
    return states, after if isinstance(after, tuple) else (after,)
