"""Where a training stands: all that the next update depends on, beside weights and optimizer state."""

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
    """All that the next update depends on, beside weights and optimizer state."""

    step: Count = 0
    epoch: Count = 0
    position: Count = 0
    """Batches of the epoch that were used."""
    updates: Count = 0
    """Updates planned in all."""
    precision: Precision = "fp32"
    static: bool = False
    """Whether batches are those of `nmt.fast.gpu.layouts`; what was chosen at the start is kept."""
    onednn: bool = False
    packed: bool = False
    """See `nmt.training.arithmetic.Arithmetic`; what was chosen at the start is kept."""
    plateau_factor: float = 1.0
    validations: Count = 0
    next_validation: Count = 0
    """Update after which validation falls due."""
    stale: Count = 0
    """Validations since the best."""
    best_step: Count = 0
    best_score: float = -math.inf
    """By `training.metric`; higher is better."""
    best_bleu: float = -1.0
    best_loss: float = math.inf
    skipped: Count = 0
    """Updates left out because of a loss or gradient that was not finite."""
    batch_tokens: Count = 0
    """Target tokens per batch, found at the start where the recipe says `auto`; 0: not found yet."""
    splits: Count = 0
    """Batches that did not fit into memory and were halved."""
    usual_loss: float = 0.0
    """Running mean of the loss per token."""
    target_tokens: Count = 0
    training_seconds: float = 0.0
    """Time in updates."""
    validation_seconds: float = 0.0
    """Time in validations and checkpoints."""
    sums: Sums = field(default_factory=Sums)

    @property
    def seconds(self) -> float:
        """Of the whole training so far."""
        return self.training_seconds + self.validation_seconds

    @classmethod
    def restore(cls, values: dict[str, Any]) -> Progress:
        """From the JSON of a checkpoint.

        Raises:
            ValidationError: something in it is of another kind.
        """
        known = {item.name for item in dataclasses.fields(cls)}
        return _PROGRESS.validate_python({key: value for key, value in values.items() if key in known})


_PROGRESS = TypeAdapter(Progress)
