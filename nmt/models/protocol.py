"""The protocol that search and training know; they never ask which family they hold.

Shapes, here and in all models: B sentences, S source positions, T target positions, D width, H heads, K width of a head,
V vocabulary. Search decodes R = B * beam rows at once; the rows of a sentence stand together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

Memory = TypeVar("Memory")
State = TypeVar("State")


class Seq2Seq(Protocol[Memory, State]):
    """What search needs of a model. Twenty lines make a fake one for a test."""

    def encode(self, source: Tensor, lengths: Tensor) -> Memory:
        """Reads source (B, S), of which `lengths` (B,) positions count."""
        ...

    def start(self, memory: Memory, beam: int) -> State:
        """State of `beam` empty hypotheses per sentence."""
        ...

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Feeds the last token of each row (R,); returns logits of the next (R, V) and the new state."""
        ...

    def reorder(self, state: State, rows: Tensor, beam: int) -> State:
        """State of `beam` rows per sentence, in which row i goes on from row `rows[i]`.

        Sentences may fall out, whole, but keep their order; the beam may become another.
        """
        ...


@dataclass(frozen=True)
class Forced:
    """What a model makes of a target that is given."""

    states: Tensor
    """(B, T, D) hidden, ready for `output`."""
    drawn: Tensor | None = None
    """(B, T) log-probabilities of the positions that were drawn, for the loss to reward; None: none were."""


@dataclass(frozen=True)
class Tables:
    """Parameters with a row for each token; one that is shared stands on each side that it is of."""

    source: Sequence[Tensor]
    target: Sequence[Tensor]


class EncoderDecoder(nn.Module, ABC, Generic[Memory, State]):
    """A trainable model: the protocol of search, and teacher forcing."""

    output: nn.Linear
    """Projection of hidden states to logits. Training leaves it to the loss, which never keeps the logits."""
    recompute: bool = False
    """Whether layers are computed again in the backward pass, where the family can."""

    @abstractmethod
    def encode(self, source: Tensor, lengths: Tensor) -> Memory:
        """See `Seq2Seq.encode`."""

    @abstractmethod
    def start(self, memory: Memory, beam: int) -> State:
        """See `Seq2Seq.start`."""

    @abstractmethod
    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """See `Seq2Seq.step`."""

    @abstractmethod
    def reorder(self, state: State, rows: Tensor, beam: int) -> State:
        """See `Seq2Seq.reorder`."""

    @abstractmethod
    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Hidden states (B, T, D) after each token of target (B, T), ready for `output`."""

    if TYPE_CHECKING:
        __call__ = forward

    def log_probabilities(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Log-probabilities (B, T, V) of what follows each token of target (B, T): forced decoding."""
        return log_softmax(self.output(self(source, lengths, target)))

    @abstractmethod
    def attention_maps(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Attention (B, L, H, T, S) to the source of each layer and head while predicting what follows target (B, T).

        Raises:
            ConfigError: the model attends to nothing.
        """

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """Source and target positions that a state depends on; None: all, of the source, and all before, of the target."""
        return None

    def aligning_layer(self, shifted: bool = False) -> int | None:  # noqa: ARG002  # of families with several layers
        """The layer whose attention aligns words best, while they are predicted or `shifted` a step later; None: the mean."""
        return None

    def attention(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Attention (B, T, S) of that layer, the mean over its heads; see `attention_maps`."""
        maps, layer = self.attention_maps(source, lengths, target).mean(2), self.aligning_layer()  # (B, L, T, S)
        return maps.mean(1) if layer is None else maps[:, layer]

    def forced(self, source: Tensor, lengths: Tensor, target: Tensor) -> Forced:
        """`forward`, and what it drew, where a model decides by chance while it is trained."""
        return Forced(self.forward(source, lengths, target))

    @abstractmethod
    def tables(self) -> Tables:
        """Parameters with a row for each token of a vocabulary."""

    @abstractmethod
    def encoder_parts(self) -> Iterable[nn.Module]:
        """Modules that read whole sources."""

    def compile_steps(self) -> None:
        """Compiles what a forward pass repeats, once for all shapes; nothing where a family has no such part."""
        for part in self.repeated_parts():
            part.compile(dynamic=True)

    def repeated_parts(self) -> Iterable[nn.Module]:
        """Modules that compute by being called, inner before outer: what several processes may divide; none: only the whole."""
        return ()

    @property
    def parameter_count(self) -> int:
        """Trainable numbers; what is shared counts once."""
        return sum(parameter.numel() for parameter in self.parameters())


def is_among(parameter: Tensor, others: Iterable[Tensor]) -> bool:
    """Whether a parameter itself is one of others."""
    return any(parameter is other for other in others)


def log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities over the last dimension, in single precision at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def padding_mask(lengths: Tensor, width: int, device: torch.device) -> Tensor:
    """True at positions that count: (B, S)."""
    return torch.arange(width, device=device) < lengths.to(device, non_blocking=True)[:, None]


def sentences_of(rows: Tensor, before: int, after: int) -> Tensor:
    """The sentence, among those of `before` rows each, that each group of `after` rows goes on from."""
    return torch.div(rows[::after], before, rounding_mode="floor")
