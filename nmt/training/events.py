"""What a training reports: the display, the log on disk and TensorBoard read the same events."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Started:
    """A training begins, or goes on."""

    kind: ClassVar[str] = "start"
    step: int
    """Updates made before."""
    seconds: float
    """That they and their validations took."""
    updates: int
    """Planned in all; with a budget no number that means something yet."""
    budget: float | None
    """Seconds, if time is what ends it."""
    parameters: int
    receptive_field: tuple[int, int] | None
    """Source and target positions that a state sees, where a model has a bound."""
    device: str
    processes: int
    precision: str
    pairs: int
    """Of training, within the length limit."""
    too_long: int
    """Pairs beyond it."""
    batches_per_epoch: int
    batch_tokens: int
    padding: float
    """Share of positions."""
    update: str | None = None
    """On a GPU: how an update is made."""


@dataclass(frozen=True)
class Initialised:
    """The weights of another model were taken."""

    kind: ClassVar[str] = "initialised"
    step: int
    path: str
    source: tuple[int, int]
    """Pieces that both models have, and pieces in all."""
    target: tuple[int, int]


@dataclass(frozen=True)
class Updated:
    """Figures of the updates since the last such event, per target token; see `Validation`."""

    kind: ClassVar[str] = "train"
    step: int
    updates: int
    epoch: int
    loss: float
    """With label smoothing and what else training adds."""
    perplexity: float
    accuracy: float
    learning_rate: float
    gradient_norm: float
    """Before clipping, the mean."""
    tokens_per_second: float
    utilisation: float
    """Share of the machine's matrix rate."""
    seconds: float
    """Since the training began, validations included."""
    memory_mb: float


@dataclass(frozen=True)
class Validated:
    """A validation, see `Validation`."""

    kind: ClassVar[str] = "validation"
    step: int
    loss: float
    perplexity: float
    accuracy: float
    bleu: float
    chrf: float | None
    best: bool
    """Whether no earlier one was as good."""


@dataclass(frozen=True)
class Skipped:
    """An update was left out: its loss or gradient was not finite."""

    kind: ClassVar[str] = "skipped"
    step: int
    pairs: list[int]
    """Some of its training pairs, from 1."""


@dataclass(frozen=True)
class Spike:
    """The loss of an update was far above the usual one."""

    kind: ClassVar[str] = "spike"
    step: int
    loss: float
    usual: float
    pairs: list[int]
    """Some of its training pairs, from 1."""


@dataclass(frozen=True)
class Damaged:
    """A checkpoint was not whole and has been removed."""

    kind: ClassVar[str] = "damaged"
    step: int
    checkpoint: str
    reason: str


@dataclass(frozen=True)
class Chosen:
    """Search has decided between the best checkpoint so far and the last."""

    kind: ClassVar[str] = "choice"
    step: int
    checkpoint: str
    metric: str
    best: float
    """Score of the best so far."""
    last: float


@dataclass(frozen=True)
class Averaged:
    """The model is the mean of checkpoints; how good it is."""

    kind: ClassVar[str] = "mean"
    step: int
    checkpoints: int
    loss: float
    perplexity: float
    accuracy: float
    bleu: float
    chrf: float | None


Event = Started | Initialised | Updated | Validated | Skipped | Spike | Damaged | Chosen | Averaged
Reporter = Callable[[Event], None]

_LEFT_OUT = ("chrf", "update")  # where they are not known


def logged(event: Event) -> dict[str, Any]:
    """An event as a line of the log."""
    values = dataclasses.asdict(event)
    known = {name: value for name, value in values.items() if value is not None or name not in _LEFT_OUT}
    return {"kind": event.kind, **known}
