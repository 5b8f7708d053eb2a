"""The progress of a training: everything that the next update depends on, besides weights and optimizer state."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from nmt.runtime.device import Precision

Count = Annotated[int, Field(ge=0, le=10**15)]


@dataclass
class Sums:
    """Sums over the updates since the last log line."""

    loss: float = 0.0
    negative_log_likelihood: float = 0.0
    correct: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    gradient_norm: float = 0.0
    updates: int = 0


@dataclass
class Progress:
    """Everything that the next update depends on, besides weights and optimizer state."""

    step: Count = 0
    epoch: Count = 0
    position: Count = 0
    """Number of batches used in this epoch."""
    updates: Count = 0
    """Number of updates planned in total."""
    budget: float | None = None
    """Seconds that they were planned for; None: the recipe says how many."""
    precision: Precision = "fp32"
    static: bool = False
    """Whether batches are those of `nmt.fast.gpu.layouts`; chosen at the start and kept."""
    onednn: bool = False
    packed: bool = False
    """See `nmt.training.arithmetic.Arithmetic`; chosen at the start and kept."""
    plateau_factor: float = 1.0
    validations: Count = 0
    next_validation: Count = 0
    """The update after which to validate next."""
    stale: Count = 0
    """Validations since the best one."""
    best_step: Count = 0
    best_score: float = -math.inf
    """Score by `training.metric`; higher is better."""
    best_bleu: float = -1.0
    best_loss: float = math.inf
    skipped: Count = 0
    """Updates skipped because the loss or gradient was not finite."""
    skipped_in_a_row: Count = 0
    """Of these, the last ones without another update between them."""
    batch_tokens: Count = 0
    """Target tokens per batch, found at the start if the recipe says `auto`; 0: not found yet."""
    splits: Count = 0
    """Batches that were halved because they did not fit into memory."""
    usual_loss: float = 0.0
    """Running mean of the loss per token."""
    target_tokens: Count = 0
    training_seconds: float = 0.0
    """Time spent in updates."""
    validation_seconds: float = 0.0
    """Time spent in validations and checkpoints."""
    sums: Sums = field(default_factory=Sums)

    @property
    def seconds(self) -> float:
        """Time of the whole training so far."""
        return self.training_seconds + self.validation_seconds

    @classmethod
    def restore(cls, values: dict[str, Any]) -> Progress:
        """Restores the progress from the JSON of a checkpoint.

        Raises:
            ValidationError: a value has the wrong type.
        """
        known = {item.name for item in dataclasses.fields(cls)}
        return _PROGRESS.validate_python({key: value for key, value in values.items() if key in known})


_PROGRESS = TypeAdapter(Progress)
