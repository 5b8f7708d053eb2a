"""Checkpoints of a training: what is written when, and how it goes on from the newest."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import torch
from pydantic import ValidationError

from nmt.config.reading import explain_errors
from nmt.config.recipe import Recipe
from nmt.corpus.prepared import Prepared
from nmt.errors import CheckpointError, ConfigError
from nmt.runtime.owners import Claim
from nmt.runtime.untrusted import read_object
from nmt.storage import checkpoint as store
from nmt.storage.run_folder import RunFolder, identity
from nmt.storage.run_log import UNPLANNED
from nmt.training.arithmetic import Arithmetic
from nmt.training.budget import fit_budget, speed_is_known
from nmt.training.events import Damaged, Reporter, Validated
from nmt.training.progress import Progress
from nmt.training.samples import SAMPLES_KIND
from nmt.training.updater import Updater

_UNJUDGED = -math.inf, -1.0, math.inf  # score, BLEU and loss of the best before any validation


class Saver:
    """Writes and reads the checkpoints of one run; in a world of several processes one writes, and all wait."""

    def __init__(
        self,
        recipe: Recipe,
        prepared: Prepared,
        run_folder: RunFolder,
        updater: Updater,
        budget: float | None,
        report: Reporter,
    ) -> None:
        self._recipe, self._prepared, self._run_folder = recipe, prepared, run_folder
        self._updater, self._budget, self._report = updater, budget, report
        self._folder, self._world = run_folder.checkpoints, updater.world
        self.claim: Claim | None = None
        """On the folder, while this process trains in it."""

    def is_saved(self, progress: Progress, validated: bool = True) -> bool:
        """Whether there is a checkpoint of this update, and with `validated` one that a validation has judged."""
        path = self._folder / f"step-{progress.step:08d}"
        return not self._world.largest(not (path.is_dir() and (store.is_validated(path) or not validated)))

    def save(self, progress: Progress, validated: bool = True) -> None:
        """Saves a checkpoint and removes those that are no longer needed.

        A checkpoint between validations serves only to resume, and is removed by the next one. So the checkpoints that are kept
        and averaged at the end are the same as without an interruption. A validation at the same update replaces it.
        """
        missing = not self.is_saved(progress, validated)
        if missing and (self._world.leads or self._updater.shards):
            snapshot = store.Snapshot.of(self._updater.model, self._updater.optimizer, self.mean_weights)
            if self._world.leads:
                self._write(snapshot, progress, validated)
        self._world.wait()

    def resume(self, progress: Progress) -> Progress:
        """The progress of the newest checkpoint that is whole, with its weights, or the one given; later log lines go.

        Raises:
            ConfigError: the run belongs to another recipe, or was trained further than this one asks for.
            CheckpointError: it was trained on another corpus, or the checkpoint is damaged.
        """
        self._run_folder.check_recipe(self._recipe)
        if self._world.leads:
            self._run_folder.tidy()
            self._run_folder.drop_damaged(lambda name, reason: self._report(Damaged(0, name, reason)))
        self._world.wait()
        saved = store.checkpoints(self._folder)
        if saved:
            progress = self._checked(saved[-1])
            self._find_best(saved, progress)
        self._world.wait()
        if self._world.leads:  # only now, as a run that is refused keeps its own
            self._run_folder.begin(self._recipe, self._prepared.tokenizers)
        if saved:
            self._restore(saved[-1], progress)
        self._world.wait()
        judged = () if self.is_saved(progress) else (Validated.kind, SAMPLES_KIND)  # not yet, whatever the log says
        if self._world.leads:
            self._run_folder.trim_log(progress.step, judged)
        return progress

    @property
    def mean_weights(self) -> dict[str, torch.Tensor] | None:
        """Of the running mean, if the training keeps one."""
        return self._updater.mean.weights if self._updater.mean else None

    def _write(self, snapshot: store.Snapshot, progress: Progress, validated: bool) -> None:
        state = {
            **dataclasses.asdict(progress),
            "vocabulary": self._prepared.tokenizers.fingerprints,
            "corpus": self._prepared.fingerprint,
            "recipe": identity(self._recipe),
            "validated": validated,
        }
        self._run_folder.check_there()
        if self.claim:
            self.claim.check()
        store.save_checkpoint(self._folder, snapshot, state)
        if validated:
            self._mark_best(progress)

    def _mark_best(self, progress: Progress) -> None:
        if progress.best_step:
            scores = {"bleu": progress.best_bleu, "loss": progress.best_loss}
            store.write_best(self._folder, progress.best_step, scores)
        store.rotate(self._folder, self._recipe.training.keep, store.best_checkpoint(self._folder))

    def _checked(self, path: Path) -> Progress:
        """Returns the progress of a checkpoint, if this training can go on from it."""
        updates = self._recipe.training.updates
        self._run_folder.check_corpus(self._prepared.fingerprint, self._prepared.tokenizers.fingerprints)
        try:
            progress = Progress.restore(read_object(path / store.PROGRESS))
        except ValidationError as error:
            raise CheckpointError(explain_errors(error, Recipe, f"{path / store.PROGRESS}: ")) from None
        self._plan(progress)
        if self._budget is None and progress.step > updates:
            raise ConfigError(
                f"{path}: trained further than training.updates = {updates}; use another folder for the run"
            )
        return progress

    def _find_best(self, saved: list[Path], progress: Progress) -> None:
        """Takes the best of the checkpoints that are left, as the log has judged them, if the best of all was damaged."""
        left = {path.name for path in saved}
        if not progress.best_step or store.name_of(progress.best_step) in left:
            return
        metric, judged = self._recipe.training.metric, dict[int, tuple[float, float, float]]()
        for entry in self._run_folder.entries():
            if entry["kind"] == "validation" and store.name_of(entry["step"]) in left and math.isfinite(entry["loss"]):
                score = -entry["loss"] if metric == "loss" else entry.get(metric, 0.0)
                judged[entry["step"]] = score, entry["bleu"], entry["loss"]
        step, (score, bleu, loss) = max(judged.items(), key=lambda item: item[1][0], default=(0, _UNJUDGED))
        progress.best_step, progress.best_score, progress.best_bleu, progress.best_loss = step, score, bleu, loss

    def _restore(self, path: Path, progress: Progress) -> None:
        """Loads a checkpoint."""
        store.load_checkpoint(path, self._updater.model, self._updater.optimizer, self.mean_weights)
        self._updater.arithmetic = Arithmetic(progress.precision, progress.onednn, progress.packed)
        if self._world.leads:
            self._mark_best(progress)

    def _plan(self, progress: Progress) -> None:
        """Plans as the recipe and the budget of this start say, which may differ from those of the start before."""
        if self._budget is None:
            training = self._recipe.training
            progress.updates = training.updates
            progress.next_validation = min(progress.next_validation, progress.step + training.validate_every)
        elif self._budget != progress.budget:
            is_over = progress.seconds >= self._budget
            progress.updates = progress.next_validation = progress.step if is_over else UNPLANNED
            if not is_over and speed_is_known(progress, self._budget):  # the next learning rate depends on the plan
                fit_budget(progress, self._budget)
        progress.budget = self._budget
