"""Events that training reports, for the display, the log on disk and TensorBoard."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Started:
    """A training begins or resumes."""

    kind: ClassVar[str] = "start"
    step: int
    """Number of updates made before."""
    seconds: float
    """Time of these updates and their validations."""
    updates: int
    """Planned updates in total; meaningless at first if there is a budget."""
    budget: float | None
    """Seconds, if a budget ends the training."""
    parameters: int
    receptive_field: tuple[int, int] | None
    """How many source and target positions a state depends on, in models with such a bound."""
    device: str
    processes: int
    precision: str
    pairs: int
    """Training pairs within the length limit."""
    too_long: int
    """Training pairs above the length limit."""
    batches_per_epoch: int
    batch_tokens: int
    padding: float
    """Share of padding among positions."""
    update: str | None = None
    """How an update is made; on a GPU only."""


@dataclass(frozen=True)
class Initialised:
    """Weights of another model were loaded."""

    kind: ClassVar[str] = "initialised"
    step: int
    path: str
    source: tuple[int, int]
    """Number of pieces that both models share, and of all pieces."""
    target: tuple[int, int]


@dataclass(frozen=True)
class Updated:
    """Means per target token over the updates since the last such event; see `Validation`."""

    kind: ClassVar[str] = "train"
    step: int
    updates: int
    epoch: int
    loss: float
    """Training loss, with label smoothing and other terms."""
    perplexity: float
    accuracy: float
    learning_rate: float
    gradient_norm: float
    """Mean norm before clipping."""
    tokens_per_second: float
    utilisation: float
    """Achieved share of the machine's matrix product rate."""
    seconds: float
    """Time since the training began, with validations."""
    memory_mb: float


@dataclass(frozen=True)
class Validated:
    """A validation; see `Validation`."""

    kind: ClassVar[str] = "validation"
    step: int
    loss: float
    perplexity: float
    accuracy: float
    bleu: float
    chrf2: float | None
    best: bool
    """Whether it is the best so far."""


@dataclass(frozen=True)
class Skipped:
    """An update was skipped, as its loss or gradient was not finite."""

    kind: ClassVar[str] = "skipped"
    step: int
    pairs: list[int]
    """Some of its training pairs, counted from 1."""


@dataclass(frozen=True)
class Spike:
    """The loss of an update was far above the running mean."""

    kind: ClassVar[str] = "spike"
    step: int
    loss: float
    usual: float
    pairs: list[int]
    """Some of its training pairs, counted from 1."""


@dataclass(frozen=True)
class Damaged:
    """A damaged checkpoint was removed."""

    kind: ClassVar[str] = "damaged"
    step: int
    checkpoint: str
    reason: str


@dataclass(frozen=True)
class Chosen:
    """The recipe's search has chosen between the best and the last checkpoint."""

    kind: ClassVar[str] = "choice"
    step: int
    checkpoint: str
    metric: str
    best: float
    """Score of the best checkpoint."""
    last: float


@dataclass(frozen=True)
class Fewer:
    """There are fewer checkpoints than `training.average` asks for."""

    kind: ClassVar[str] = "fewer"
    step: int
    checkpoints: int
    asked: int


@dataclass(frozen=True)
class Averaged:
    """The final model is the mean of checkpoints, with these scores."""

    kind: ClassVar[str] = "mean"
    step: int
    checkpoints: int
    loss: float
    perplexity: float
    accuracy: float
    bleu: float
    chrf2: float | None


Event = Started | Initialised | Updated | Validated | Skipped | Spike | Damaged | Chosen | Fewer | Averaged
Reporter = Callable[[Event], None]

_LEFT_OUT = ("chrf2", "update")  # left out if unknown


def logged(event: Event) -> dict[str, Any]:
    """Converts an event to a line of the log."""
    values = dataclasses.asdict(event)
    known = {name: value for name, value in values.items() if value is not None or name not in _LEFT_OUT}
    return {"kind": event.kind, **known}
