"""A few real updates of a training in a process of its own: their speed and memory, before the training begins."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nmt.bench.rounds import interleave
from nmt.config.recipe import Recipe
from nmt.corpus.prepared import Prepared
from nmt.errors import NmtError
from nmt.runtime.device import peak_memory_mb
from nmt.storage.run_log import UNPLANNED
from nmt.training.rehearsal import rehearse
from nmt.training.trainer import Trainer

UPDATES = 10
_WARM_UPS = 2  # updates that are not timed
_NEVER = UNPLANNED - 1


@dataclass(frozen=True)
class Probe:
    """What a few updates took."""

    updates_per_second: float
    tokens_per_second: float
    memory: int
    """Peak in bytes: of the whole process, or of the GPU."""
    cpu_seconds: float
    """Time of all cores per update, which others do not lengthen."""
    foreign_load: float
    """Share of the cores that other processes used in the meantime."""
    batch_tokens: int
    """Target tokens per batch."""
    way: str
    """How updates are made, as a clause."""


def probe_training(recipe: Recipe, prepared: Prepared, device: torch.device, threads: int) -> Probe:
    """Makes some updates of a training and discards them.

    Raises:
        NmtError: they fail; gives the reason.
    """
    reasons: list[str] = []
    with tempfile.TemporaryDirectory(prefix="nmt-probe-") as folder:
        setup = functools.partial(_Trainee, recipe, Prepared(prepared.folder), device, Path(folder))
        found = interleave({_NAME: setup}, 1, threads, reasons.append).get(_NAME)
    if found is None:
        raise NmtError(reasons[0].removeprefix(f"{_NAME} is left out: "))
    (timed,) = found.rounds
    result = timed.result
    memory = result["memory_mb"] if device.type == "cuda" else found.peak_memory_mb
    return Probe(
        updates_per_second=UPDATES / timed.seconds,
        tokens_per_second=timed.tokens_per_second,
        memory=round(1e6 * memory),
        cpu_seconds=timed.cpu_seconds / UPDATES,
        foreign_load=timed.foreign_load,
        batch_tokens=result["batch_tokens"],
        way=result["way"],
    )


_NAME = "some updates"


class _Trainee:
    """A training that never logs, validates or saves."""

    def __init__(self, recipe: Recipe, prepared: Prepared, device: torch.device, folder: Path) -> None:
        never: dict[str, Any] = dict.fromkeys(("updates", "validate_every", "log_every"), _NEVER)
        training = recipe.training.model_copy(update=never)
        self._trainer = Trainer(recipe.model_copy(update={"training": training}), prepared, folder, device)
        parts = self._trainer.stream, self._trainer.updater, self._trainer.progress
        self._plain = rehearse(recipe, *parts)
        self._count = _WARM_UPS

    def run(self) -> dict[str, Any]:
        """Makes the updates of a round; waits for the device once, at the end."""
        trainer, progress = self._trainer, self._trainer.progress
        before, count, self._count = progress.target_tokens, self._count, UPDATES
        for _ in range(count):
            trainer.update()
        trainer.watch.read(progress)
        return {
            "tokens": progress.target_tokens - before,
            "memory_mb": peak_memory_mb(trainer.device),
            "batch_tokens": trainer.stream.batch_tokens,
            "way": self._way(),
        }

    def _way(self) -> str:
        updater = self._trainer.updater
        if updater.device.type == "cuda":
            return "one CUDA graph" if self._plain is None else f"plain: {self._plain}"
        return "torch" if updater.replacement() is None else "the compiled kernels"
