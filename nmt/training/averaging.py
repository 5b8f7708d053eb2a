"""Means of weights: a running mean over updates, and the mean of checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from nmt.errors import CheckpointError
from nmt.fast.gpu.lists import mix_all
from nmt.runtime.stages import counted
from nmt.storage.checkpoint import read_verified


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
