"""The end of training: chooses the checkpoints of the final model and writes the bundle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nmt import __version__
from nmt.config.reading import recipe_to_toml
from nmt.config.recipe import Recipe
from nmt.corpus.prepared import Prepared
from nmt.errors import CheckpointError, NmtError
from nmt.models import Visual
from nmt.runtime.device import describe
from nmt.runtime.untrusted import read_regular
from nmt.storage import bundle
from nmt.storage import checkpoint as store
from nmt.storage.integrity import damage
from nmt.storage.run_folder import RunFolder
from nmt.storage.run_log import RECIPE
from nmt.training.averaging import mean_of_checkpoints
from nmt.training.events import Averaged, Chosen, Fewer, Reporter
from nmt.training.progress import Progress
from nmt.training.validation import Validator


@dataclass(frozen=True)
class Finish:
    """Makes the final model of a finished training."""

    recipe: Recipe
    prepared: Prepared
    run_folder: RunFolder
    validator: Validator
    budget: float | None
    report: Reporter

    def is_done(self, progress: Progress) -> bool:
        """Whether the model of this recipe and this update is there, and whole."""
        place = self.run_folder.path / "model"
        try:
            written = read_regular(place / RECIPE) == recipe_to_toml(self.recipe, place).encode()
            return written and bundle.read_card(place).get("updates") == progress.step and not damage(place)
        except (OSError, CheckpointError):
            return False

    def write_bundle(self, progress: Progress) -> None:
        """Writes one checkpoint, or the mean of several, as a bundle; validates unless it is the known best.

        Raises:
            CheckpointError: the best checkpoint is gone, or one of those that make the model is damaged.
            NmtError: the validation loss of the model is not finite.
        """
        if self.validator.updater.world.leads:  # what a process that was killed here has logged of it
            self.run_folder.trim_log(progress.step, (Chosen.kind, Fewer.kind, Averaged.kind))
        chosen = self._chosen(progress)
        step, figures = progress.best_step, {"bleu": progress.best_bleu, "loss": progress.best_loss}
        weights = mean_of_checkpoints(chosen)
        if chosen != [store.best_checkpoint(self.run_folder.checkpoints)]:
            found = self.validator.validate(weights)
            step, figures = progress.step, {"bleu": found.bleu, "loss": found.loss}
            if len(chosen) > 1:
                self.report(Averaged(step, len(chosen), **found.figures))
        if not math.isfinite(figures["loss"]):
            raise self._diverged()
        updater = self.validator.updater
        if updater.world.leads:
            names = [path.name for path in chosen]
            card = self._card(progress, {**figures, "step": step})
            place, tokenizers = self.run_folder.path / "model", self.prepared.tokenizers
            bundle.write_bundle(place, weights, names, self.recipe, tokenizers, card)
        updater.world.wait()

    def _chosen(self, progress: Progress) -> list[Path]:
        """Returns the checkpoints of the final model: the last ones for `training.average`, else the best or the last.

        The best was found by greedy search among many and may be luck, so the recipe's own search decides between the two.
        """
        folder, config = self.run_folder.checkpoints, self.recipe.training
        saved, best = store.checkpoints(folder), store.best_checkpoint(folder)
        if config.average > 1 or not self.recipe.data.has_pairs:  # no validation judges a model that has seen no pairs
            if (count := len(saved)) < config.average:
                self.report(Fewer(progress.step, count, config.average))
            return saved[-config.average :]
        if not progress.best_step:
            raise self._diverged()
        if best is None:
            raise CheckpointError(f"{folder}: the best checkpoint is gone; nothing to write a model from")
        if best == saved[-1] or config.metric == "loss" or self.budget is not None:
            return [best]
        scores = [self.validator.searched(store.read_verified(path)) for path in (best, saved[-1])]
        chosen = saved[-1] if scores[1] > scores[0] else best
        self.report(Chosen(progress.step, chosen.name, config.metric, *scores))
        return [chosen]

    def _diverged(self) -> NmtError:
        return NmtError(
            f"{self.run_folder.path}: the validation loss is not finite, so no model is written; train again in another "
            "folder with a lower training.learning_rate, or with training.precision = fp32"
        )

    def _card(self, progress: Progress, validation: dict[str, float]) -> dict[str, Any]:
        """Returns the card of the model."""
        updater, report = self.validator.updater, self.prepared.report
        own = {"drawing": updater.model.renderer.fingerprint} if isinstance(updater.model, Visual) else {}
        return {
            "name": self.recipe.name,
            "parameters": updater.model.parameter_count,
            "validation": validation,
            "seed": self.recipe.seed,
            "budget_seconds": self.budget,
            "updates": progress.step,
            "target_tokens": progress.target_tokens,
            "seconds": round(progress.seconds, 1),
            "tokens_per_second": round(progress.target_tokens / max(progress.training_seconds, 1e-9)),
            "corpus": self.prepared.fingerprint,
            "synthetic": bool(report.get("synthetic")),
            "longest_source_words": report["train"]["longest_source_words"],
            "device": describe(updater.device),
            "processes": updater.world.size,
            "precision": progress.precision,
            **own,
            "versions": {"nmt": __version__, "torch": str(torch.__version__)},
        }
