"""The protocol that search and training use; they never ask for the model family.

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
    """The methods that search needs of a model. A test can fake them in twenty lines."""

    def encode(self, source: Tensor, lengths: Tensor) -> Memory:
        """Encodes source (B, S), of which the first `lengths` (B,) positions are real."""
        ...

    def start(self, memory: Memory, beam: int) -> State:
        """Returns the state of `beam` empty hypotheses per sentence."""
        ...

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Feeds the last token of each row (R,); returns logits (R, V) of the next token and the new state."""
        ...

    def reorder(self, state: State, rows: Tensor, beam: int) -> State:
        """Returns the state of `beam` rows per sentence in which row i continues row `rows[i]`.

        Whole sentences may be dropped; the others keep their order. The beam may change.
        """
        ...


@dataclass(frozen=True)
class Forced:
    """Outputs of a model for a given target (teacher forcing)."""

    states: Tensor
    """(B, T, D) hidden states, ready for `output`."""
    drawn: Tensor | None = None
    """(B, T) log-probabilities of the source positions that hard attention drew, for the loss; None: it drew none."""


@dataclass(frozen=True)
class Tables:
    """Parameters with one row per token. A shared parameter is listed on both sides."""

    source: Sequence[Tensor]
    target: Sequence[Tensor]


class EncoderDecoder(nn.Module, ABC, Generic[Memory, State]):
    """A trainable model: the protocol of search plus teacher forcing."""

    output: nn.Linear
    """Projects hidden states to logits. Training lets the loss apply it, so that the logits are never kept."""
    recompute: bool = False
    """Whether layers are recomputed in the backward pass, in families that can do so."""

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
        """Returns hidden states (B, T, D) after each token of target (B, T), ready for `output`."""

    if TYPE_CHECKING:
        __call__ = forward

    def log_probabilities(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Returns log-probabilities (B, T, V) of the token after each token of target (B, T): forced decoding."""
        return log_softmax(self.output(self(source, lengths, target)))

    @abstractmethod
    def attention_maps(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Returns attention to the source (B, L, H, T, S) of each layer and head, after each token of target (B, T).

        Raises:
            ConfigError: the model has no attention.
        """

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """How many source and target positions a state depends on; None: all source and all earlier target positions."""
        return None

    def aligning_layer(self, shifted: bool = False) -> int | None:  # noqa: ARG002  # of families with several layers
        """The layer that aligns words best, for the predicted token or (`shifted`) for the fed one; None: the mean of all."""
        return None

    def attention(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Returns attention (B, T, S) of `aligning_layer`, averaged over heads; see `attention_maps`."""
        maps, layer = self.attention_maps(source, lengths, target).mean(2), self.aligning_layer()  # (B, L, T, S)
        return maps.mean(1) if layer is None else maps[:, layer]

    def forced(self, source: Tensor, lengths: Tensor, target: Tensor) -> Forced:
        """Runs `forward` and also returns log-probabilities of random choices, in models that draw during training."""
        return Forced(self.forward(source, lengths, target))

    @abstractmethod
    def tables(self) -> Tables:
        """Returns the parameters with one row per token of a vocabulary."""

    @abstractmethod
    def encoder_parts(self) -> Iterable[nn.Module]:
        """Returns the modules that read the source."""

    def replace_output(self, output: nn.Linear) -> None:
        """Replaces the projection to logits, which search may do for a faster or a smaller one."""
        self.output = output

    def compile_steps(self) -> None:
        """Compiles the repeated parts of a forward pass, once for all shapes. Does nothing in families without such parts."""
        for part in self.repeated_parts():
            part.compile(dynamic=True)

    def repeated_parts(self) -> Iterable[nn.Module]:
        """Returns the modules that several processes may divide, inner before outer; none: only the whole model."""
        return ()

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters; shared ones count once."""
        return sum(parameter.numel() for parameter in self.parameters())


def is_among(parameter: Tensor, others: Iterable[Tensor]) -> bool:
    """Whether the very same tensor is among the others."""
    return any(parameter is other for other in others)


def log_softmax(logits: Tensor) -> Tensor:
    """Returns log-probabilities over the last dimension, in float32 or wider."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def padding_mask(lengths: Tensor, width: int, device: torch.device) -> Tensor:
    """Returns a mask (B, S) that is True at real positions."""
    return torch.arange(width, device=device) < lengths.to(device, non_blocking=True)[:, None]


def sentences_of(rows: Tensor, before: int, after: int) -> Tensor:
    """Returns the sentence that each group of `after` rows continues; before, each sentence had `before` rows."""
    return torch.div(rows[::after], before, rounding_mode="floor")
