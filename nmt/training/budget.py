"""Training for a fixed time: plans the number of updates."""

from __future__ import annotations

import math

from nmt.config.recipe import Recipe
from nmt.errors import ConfigError
from nmt.storage.run_log import UNPLANNED
from nmt.training.progress import Progress

_PROBED_UPDATES = 20
_VALIDATIONS = 8


def check_budget(recipe: Recipe, budget: float | None) -> None:
    """Refuses a budget that is no time, or one with a learning rate that does not end.

    Raises:
        ConfigError: names the schedule, and one that goes with a budget.
    """
    if budget is not None and not 0 < budget < math.inf:
        raise ConfigError(f"budget must be a time above 0 seconds, got {budget}")
    if budget is not None and recipe.training.schedule not in ("cosine", "trapezoid"):
        raise ConfigError(
            "a budget needs a schedule that ends when time is up: "
            f"training.schedule = cosine, not {recipe.training.schedule}"
        )


def fit_budget(progress: Progress, budget: float | None) -> None:
    """Plans as many updates as fit into the time left at the measured speed, validations included.

    Args:
        progress: receives the number of updates and the next validation.
        budget: seconds of the whole training; None: nothing to plan.
    """
    if budget is None or progress.step >= progress.updates:
        return
    done = progress.validations
    per_validation = progress.validation_seconds / done if done else 0.01 * budget
    ahead = max(1, _VALIDATIONS - done)
    left = budget - progress.seconds - ahead * per_validation
    per_update = progress.training_seconds / progress.step
    progress.updates = min(progress.step + max(0, int(left / per_update)), UNPLANNED - 1)
    progress.next_validation = progress.step + math.ceil((progress.updates - progress.step) / ahead)


def speed_is_known(progress: Progress, budget: float | None) -> bool:
    """Whether there were enough updates to estimate the time of the next ones."""
    return progress.step >= _PROBED_UPDATES or (progress.step >= 2 and progress.training_seconds > (budget or 0.0) / 20)
