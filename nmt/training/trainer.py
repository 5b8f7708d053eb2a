"""Training: one readable loop, and a saved state to resume as if it had never stopped."""

from __future__ import annotations

import dataclasses
import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter

import torch

from nmt.config.recipe import Recipe, TrainingConfig
from nmt.corpus.prepared import Prepared
from nmt.fast.gpu.layouts import StaticBatch
from nmt.models import Model, build_model
from nmt.runtime.device import choose_device, describe, peak_memory_mb, release_memory, seed_all
from nmt.runtime.owners import Claim
from nmt.runtime.processes import World
from nmt.runtime.signals import Interrupted, only_trainer, stop_signals
from nmt.storage.run_folder import RunFolder
from nmt.storage.run_log import UNPLANNED
from nmt.training.arithmetic import choose_arithmetic
from nmt.training.batches import Batch
from nmt.training.budget import check_budget, fit_budget, speed_is_known
from nmt.training.events import Event, Initialised, Reporter, Started, Updated, Validated, logged
from nmt.training.fine_tuning import Carried, freeze, initialise
from nmt.training.finish import Finish
from nmt.training.flops import matrix_rate
from nmt.training.memory import check_training
from nmt.training.optim import learning_rate
from nmt.training.progress import Progress, Sums
from nmt.training.rehearsal import rehearse
from nmt.training.samples import sampled
from nmt.training.saving import Saver
from nmt.training.stream import BatchStream, Drawn, StreamPosition
from nmt.training.updater import Outcome, Updater
from nmt.training.validation import Validator, exp
from nmt.training.watch import Watch


class Trainer:
    """Trains a recipe on a prepared corpus in a run folder; resumes where an earlier start of the run stopped."""

    def __init__(
        self,
        recipe: Recipe,
        prepared: Prepared,
        run: Path,
        device: torch.device,
        report: Reporter = lambda _: None,
        budget: float | None = None,
        world: World | None = None,
    ) -> None:
        """Checks everything that can be checked before the work begins.

        Args:
            recipe: what to train and how.
            prepared: the encoded corpus.
            run: folder for logs, checkpoints and the finished model.
            device: where to train.
            report: receives each event.
            budget: seconds to train, validations included; replaces `training.updates`.
            world: the processes that train together; None: only this one.

        Raises:
            ConfigError: the budget does not fit the schedule, the run has another recipe, or memory is too small.
            DataError: no training pair fits the length limit.
            CheckpointError: a checkpoint, or the model to begin with, cannot be read.
        """
        check_budget(recipe, budget)
        self.recipe, self.config, self.prepared = recipe, recipe.training, prepared
        self.run_folder = RunFolder(run)
        self.device, self.report, self.budget = device, report, budget
        self.world = world or World(device)
        self.tokenizers = prepared.tokenizers
        check_training(recipe, self.tokenizers.sizes, device, self.world.size if recipe.training.shard else 1)
        seed_all(recipe.seed)
        self.model = build_model(recipe.model, *self.tokenizers.sizes)
        self.model.recompute = self.config.recompute
        self._saving = 0.0  # seconds of checkpoints since the last validation
        self._carried: Carried | None = None
        if self.config.initialise and not self.run_folder.can_resume():
            self._carried = initialise(self.model, recipe.model, self.tokenizers, Path(self.config.initialise))
        freeze(self.model, self.config.freeze)
        _place(self.model, self.config, self.world)
        arithmetic = choose_arithmetic(self.config.precision, device)
        self.updater = Updater(self.model, self.config, device, arithmetic, recipe.seed, self.world)
        self.validator = Validator(recipe, prepared, self.updater, run)
        pinned = device.type == "cuda"
        self.stream = BatchStream(recipe, prepared, self.world.rank, self.world.size, pinned)
        self.progress = Progress(
            updates=self.config.updates if budget is None else UNPLANNED,
            next_validation=self.config.validate_every if budget is None else UNPLANNED,
            budget=budget,
            **dataclasses.asdict(arithmetic),
        )
        self._matrix_rate = matrix_rate(arithmetic, device)
        self.watch = Watch(self.config, device, self._emit)
        self.saver = Saver(recipe, prepared, self.run_folder, self.updater, budget, self._emit)

    def run(self) -> Progress:
        """Trains to the end and writes the bundle.

        Raises:
            Interrupted: a signal came; everything is saved.
        """
        self.run_folder.create()
        alone: AbstractContextManager[Claim | None] = (
            only_trainer(self.run_folder.path) if self.world.leads else nullcontext()
        )
        with alone as self.saver.claim, stop_signals() as stop:
            try:
                self.progress = self.saver.resume(self.progress)
                finish = Finish(self.recipe, self.prepared, self.run_folder, self.validator, self.budget, self._emit)
                if not self._goes_on and finish.is_done(self.progress):
                    return self.progress
                plain = rehearse(self.recipe, self.stream, self.updater, self.progress)
                self._announce(plain)
                while self._goes_on or not self.saver.is_saved(self.progress):
                    if self._goes_on:
                        self.update()
                    else:  # a stop came here, and this start asks for no further update
                        self._validate()
                    if number := int(self.world.largest(stop.number)):
                        self._save(validated=False)
                        raise Interrupted(number, f"after update {self.progress.step}")
                finish.write_bundle(self.progress)
            finally:
                self.stream.close()
        return self.progress

    def update(self) -> None:
        """Makes one optimizer update, then logs and validates when they are due."""
        start, progress = perf_counter(), self.progress
        drawn = [self._next_batch() for _ in range(self.config.accumulate)]
        progress.step += 1
        rate = learning_rate(progress.step, progress.updates, self.config, progress.plateau_factor)
        outcome = self._step([item.batch for item in drawn], rate)
        self.watch.keep(progress.step, [item.rows for item in drawn], outcome)
        logs = progress.step % self.config.log_every == 0
        validates = progress.step in (progress.next_validation, progress.updates)
        if logs or validates or self.watch.is_full:
            self.watch.read(progress)
        seconds = self.world.largest(perf_counter() - start)
        progress.training_seconds += seconds
        progress.sums.seconds += seconds
        progress.sums.flops += sum(item.flops for item in drawn)
        if progress.updates == UNPLANNED and speed_is_known(progress, self.budget):
            fit_budget(progress, self.budget)
        if logs:
            self._log_training(rate)
        if validates or progress.step in (progress.next_validation, progress.updates):
            self._validate()

    def _step(self, batches: list[Batch | StaticBatch], rate: float) -> Outcome:
        return self.updater.update(self.progress.step, batches, rate)

    def _next_batch(self) -> Drawn:
        progress = self.progress
        drawn = self.stream.draw(StreamPosition(progress.epoch, progress.position))
        progress.epoch, progress.position = drawn.after.epoch, drawn.after.position
        return drawn

    def _validate(self) -> None:
        """Computes the validation loss and the score of translations, then saves a checkpoint."""
        start, progress = perf_counter(), self.progress
        found = self.validator.validate(self.saver.mean_weights)
        score = found.score(self.config.metric)
        if math.isfinite(found.loss) and (score, -found.loss) > (progress.best_score, -progress.best_loss):
            progress.best_step, progress.best_score, progress.best_bleu = progress.step, score, found.bleu
            progress.best_loss, progress.stale = found.loss, 0
        else:
            progress.stale += 1
            if progress.stale % self.config.plateau_patience == 0:
                progress.plateau_factor /= 2
        progress.validations += 1
        progress.next_validation = progress.step + self.config.validate_every
        if self.world.leads:
            self.run_folder.append_samples(sampled(progress.step, found.samples))
        self._emit(Validated(progress.step, **found.figures, best=progress.stale == 0))
        release_memory()
        progress.validation_seconds += self.world.largest(self._saving + perf_counter() - start)
        self._saving = 0.0
        fit_budget(progress, self.budget)
        self._save()

    def _log_training(self, rate: float) -> None:
        self._emit(_updated(self.progress, rate, self._matrix_rate, peak_memory_mb(self.device)))
        self.progress.sums = Sums()

    def _emit(self, event: Event) -> None:
        if not self.world.leads:
            return
        self.run_folder.append(logged(event))
        self.report(event)

    @property
    def _goes_on(self) -> bool:
        patience, progress = self.config.patience, self.progress
        return progress.step < progress.updates and (patience is None or progress.stale < patience)

    def _save(self, validated: bool = True) -> None:
        self.watch.read(self.progress)
        start = perf_counter()
        self.saver.save(self.progress, validated)
        self._saving += perf_counter() - start

    def _announce(self, plain: str | None) -> None:
        """Reports what is trained and how; `plain` says why updates are plain, or is None."""
        epoch, on_gpu = self.stream.epoch(self.progress.epoch), self.device.type == "cuda"
        update = "one CUDA graph" if plain is None else f"plain: {plain}"
        self._emit(
            Started(
                step=self.progress.step,
                seconds=self.progress.seconds,
                updates=self.progress.updates,
                budget=self.budget,
                parameters=self.model.parameter_count,
                receptive_field=self.model.receptive_field,
                device=describe(self.device),
                processes=self.world.size,
                precision=self.progress.precision,
                pairs=len(self.stream.selection.rows),
                too_long=self.stream.selection.too_long,
                batches_per_epoch=len(epoch.plan),
                batch_tokens=self.stream.batch_tokens,
                padding=self.stream.padding(epoch),
                update=update if on_gpu else None,
            )
        )
        if self._carried:
            self._emit(Initialised(0, **dataclasses.asdict(self._carried)))


def _updated(progress: Progress, rate: float, matrix_rate: float, memory_mb: float) -> Updated:
    """Returns what the log says of the updates since its last line."""
    sums, tokens = progress.sums, max(progress.sums.tokens, 1)
    return Updated(
        step=progress.step,
        updates=progress.updates,
        epoch=progress.epoch,
        loss=sums.loss / tokens,
        perplexity=exp(sums.negative_log_likelihood / tokens),
        accuracy=sums.correct / tokens,
        learning_rate=rate,
        gradient_norm=sums.gradient_norm / max(sums.updates, 1),
        tokens_per_second=sums.tokens / max(sums.seconds, 1e-9),
        utilisation=sums.flops / max(sums.seconds, 1e-9) / matrix_rate,
        seconds=progress.seconds,
        memory_mb=memory_mb,
    )


def _place(model: Model, config: TrainingConfig, world: World) -> None:
    """Moves the model to the device, or this process's share if processes divide it."""
    if config.shard and world.size > 1:
        from nmt.training.sharding import shard

        shard(model, world)
    else:
        model.to(world.device)
    if config.compile:
        model.compile_steps()


def train(
    recipe: Recipe,
    prepared: Prepared,
    run: str | Path,
    device: str | torch.device = "auto",
    budget: float | None = None,
    report: Reporter = lambda _: None,
) -> Path:
    """Trains a recipe to its end, or resumes where an earlier call for the same folder stopped.

    In another thread than the main one, signals do not stop it.

    Args:
        recipe: what to train and how; `load_recipe` reads one.
        prepared: its corpus; `nmt.prepare(recipe)` makes it.
        run: folder for the log, the checkpoints and the model; made if missing.
        device: `auto`, `cpu`, `cuda` or `cuda:n`.
        budget: seconds to train, validations included; replaces `training.updates`.
        report: receives each event; see `nmt.training.events`.

    Returns:
        The folder of the model, for `nmt.load`.

    Raises:
        ConfigError: the recipe does not fit the budget, the folder or the memory of the device.
        DataError: no training pair fits the length limit.
        CheckpointError: a checkpoint, or the model to begin with, is damaged or cannot be read.
        Interrupted: a signal came; everything is saved, and the same call resumes.
    """
    folder = Path(run)
    folder.mkdir(parents=True, exist_ok=True)
    Trainer(recipe, prepared, folder, choose_device(device), report, budget).run()
    return folder / "model"
