"""Means of weights: a running mean over updates, and the mean of checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from nmt.config.reading import explain_errors
from nmt.config.recipe import Recipe
from nmt.errors import CheckpointError
from nmt.fast.gpu.lists import mix_all
from nmt.runtime.stages import counted
from nmt.runtime.untrusted import read_object
from nmt.storage.bundle import read_card
from nmt.storage.checkpoint import PROGRESS, read_verified
from nmt.storage.run_log import CARD
from nmt.training.progress import Progress


class RunningMean:
    """Exponential moving average of the weights (Polyak and Juditsky 1992; as in Junczys-Dowmunt et al. 2018).

    The decay rises with the number of updates n, as min(decay, (1 + n) / (10 + n)), so that early weights fade fast.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    @torch.no_grad()
    def update(self, number: int) -> None:
        """Moves the mean towards the weights after update `number`."""
        decay = min(self.decay, (1 + number) / (10 + number))
        mix_all(list(self.weights.values()), list(self.model.parameters()), 1 - decay)


def mean_of_checkpoints(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Returns the mean of the weights of some checkpoints, summed in float64.

    Raises:
        CheckpointError: a checkpoint is damaged, or they belong to different models.
    """
    first, *others = paths
    beginning = read_verified(first)
    sums = {name: tensor.double() for name, tensor in beginning.items()}
    for path in counted(others, "averaging", len(others), "further checkpoints"):
        weights = read_verified(path)
        if {name: tensor.shape for name, tensor in weights.items()} != {
            name: part.shape for name, part in sums.items()
        }:
            raise CheckpointError(f"{path}: not of the same model as {first}")
        for name, tensor in weights.items():
            sums[name] += tensor
    return {name: (total / len(paths)).to(beginning[name].dtype) for name, total in sums.items()}


_SHARED = (
    *("parameters", "seed", "budget_seconds", "synthetic", "longest_source_words", "device", "processes"),
    *("drawing", "versions"),
)
"""Entries of a card that hold for every mean of checkpoints of a run."""


def card_of_mean(run: Path, last: Path) -> dict[str, Any]:
    """Returns the provenance of a mean of checkpoints; it has no validation, as nobody has scored that mean.

    Args:
        run: folder of the training. If that is finished, the card of its model says what checkpoints do not.
        last: the newest of the checkpoints.

    Raises:
        CheckpointError: the state of the checkpoint or the card is invalid.
    """
    state, place = read_object(last / PROGRESS), run / "model"
    known = read_card(place) if (place / CARD).exists() else {}
    try:
        progress = Progress.restore(state)
    except ValidationError as error:
        raise CheckpointError(explain_errors(error, Recipe, f"{last / PROGRESS}: ")) from None
    return {key: known[key] for key in _SHARED if key in known} | {
        "corpus": str(state.get("corpus", "")),
        "updates": progress.step,
        "target_tokens": progress.target_tokens,
        "seconds": round(progress.seconds, 1),
        "tokens_per_second": round(progress.target_tokens / max(progress.training_seconds, 1e-9)),
        "precision": progress.precision,
    }
