"""Updaters of tiny models, for tests of what an update computes."""

from __future__ import annotations

from typing import Any

import torch

from nmt.config.recipe import TrainingConfig
from nmt.models.dropout import Dropout
from nmt.training.arithmetic import Arithmetic
from nmt.training.batches import Batch
from nmt.training.updater import Updater
from tiny import make_model


def make_updater(name: str = "transformer", **training: Any) -> Updater:
    """An updater of a tiny model in float64."""
    arithmetic = Arithmetic("fp32", onednn=False)
    return Updater(make_model(name).train(), TrainingConfig(**training), torch.device("cpu"), arithmetic)


def remove_dropout(updater: Updater) -> None:
    """Makes its updates computable by hand."""
    for module in updater.model.modules():
        if isinstance(module, Dropout):
            module.probability = 0.0


def copying_batch(source: torch.Tensor, lengths: torch.Tensor) -> Batch:
    """A batch that copies its source."""
    return Batch.of(source, lengths, source, source)
