"""Training: one readable loop, and a state from which it goes on as if it had never stopped."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import torch
from pydantic import ValidationError

import nmt
from nmt.config.reading import explain
from nmt.config.recipe import Recipe
from nmt.corpus.encoded import Ints
from nmt.corpus.prepared import Prepared
from nmt.errors import CheckpointError, ConfigError, NmtError
from nmt.fast.gpu.layouts import StaticBatch
from nmt.models import build_model
from nmt.runtime.device import describe, peak_memory_mb, release_memory, seed_all
from nmt.runtime.owners import Claim
from nmt.runtime.processes import World, whole
from nmt.runtime.signals import Interrupted, only_trainer, stop_signals
from nmt.runtime.untrusted import read_object
from nmt.storage import checkpoint as store
from nmt.storage.run_folder import Entry, RunFolder, identity
from nmt.training.arithmetic import Arithmetic, choose_arithmetic
from nmt.training.averaging import mean_of_checkpoints
from nmt.training.batches import Batch
from nmt.training.fine_tuning import Carried, freeze, initialise
from nmt.training.flops import matrix_rate
from nmt.training.memory import check_training
from nmt.training.optim import learning_rate
from nmt.training.progress import Progress, Sums
from nmt.training.rehearsal import rehearse
from nmt.training.stream import BatchStream, Drawn, Place
from nmt.training.updater import Outcome, Updater
from nmt.training.validation import Validation, Validator, exp

Reporter = Callable[[Entry], None]
Measured = TypeVar("Measured")

_MAX_NON_FINITE = 10
_SPIKE = 2.0  # a loss so many times the running mean names its batch; those of sound trainings reach 1.9
_UNPLANNED = 1_000_000_000  # updates of a budgeted training before its speed is known
_PROBED_UPDATES = 20
_VALIDATIONS_IN_BUDGET = 8
_UNREAD = {"cpu": 1, "cuda": 16}  # updates whose figures may wait on the device


class Trainer:
    """Trains a recipe on a prepared corpus in a run folder; starts where an earlier start of the same run stopped."""

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
        """Checks everything that can be checked before work begins.

        Args:
            recipe: what to train and how.
            prepared: the encoded corpus.
            run: folder of logs, checkpoints and the finished model.
            device: where to train.
            report: receives each log entry.
            budget: seconds to train, validations included; replaces `training.updates`.
            world: the processes that train together; None: this one alone.

        Raises:
            ConfigError: the budget does not go with the schedule, the run belongs to another recipe, or memory is too small.
            DataError: no training pair fits the length limit.
        """
        if budget is not None and recipe.training.schedule not in ("cosine", "trapezoid"):
            raise ConfigError(
                "--budget needs a schedule that ends when time is up: "
                f"--set training.schedule=cosine, not {recipe.training.schedule}"
            )
        self.recipe, self.config, self.prepared = recipe, recipe.training, prepared
        self.run_folder = RunFolder(run)
        self.folder = self.run_folder.checkpoints
        self.device, self.report, self.budget = device, report, budget
        self.world = world or World(device)
        self.tokenizers = prepared.tokenizers
        check_training(recipe, self.tokenizers.sizes, device, self.world.size if recipe.training.shard else 1)
        seed_all(recipe.seed)
        self.model = build_model(recipe.model, *self.tokenizers.sizes)
        self.model.recompute = self.config.recompute
        self._carried: Carried | None = None
        if self.config.initialise and not store.checkpoints(self.folder):
            self._carried = initialise(self.model, self.tokenizers, Path(self.config.initialise))
        freeze(self.model, self.config.freeze)
        self._place_model()
        arithmetic = choose_arithmetic(self.config.precision, device)
        self.updater = Updater(self.model, self.config, device, arithmetic, recipe.seed, self.world)
        self.validator = Validator(recipe, prepared, self.updater, run)
        pinned = device.type == "cuda"
        self.stream = BatchStream(recipe, prepared, self.world.rank, self.world.size, pinned)
        self.progress = Progress(
            updates=self.config.updates if budget is None else _UNPLANNED,
            next_validation=self.config.validate_every if budget is None else _UNPLANNED,
            **dataclasses.asdict(arithmetic),
        )
        self._matrix_rate = matrix_rate(arithmetic, device)
        self._unread: list[tuple[int, list[Ints], Outcome]] = []
        self._non_finite = 0
        self._claim: Claim | None = None

    def run(self) -> Progress:
        """Trains to the end and writes the bundle.

        Raises:
            Interrupted: a signal came; everything is saved.
        """
        self.run_folder.create()
        alone: AbstractContextManager[Claim | None] = (
            only_trainer(self.run_folder.path) if self.world.leads else nullcontext()
        )
        with alone as self._claim, stop_signals() as stop:
            try:
                self._resume()
                plain = rehearse(self.recipe, self.stream, self.updater, self.progress)
                self._announce(plain)
                while self.progress.step < self.progress.updates and not self._out_of_patience:
                    self._update()
                    if number := int(self.world.largest(stop.number)):
                        self._save(validated=False)
                        raise Interrupted(number, f"after update {self.progress.step}")
                if not self._is_saved:
                    self._validate()
                self._write_bundle()
            finally:
                self.stream.close()
        return self.progress

    def _place_model(self) -> None:
        """Puts the model on the device, or its share where processes divide it."""
        if self.config.shard and self.world.size > 1:
            from nmt.training.sharding import shard

            shard(self.model, self.world)
        else:
            self.model.to(self.device)
        if self.config.compile:
            self.model.compile_steps()

    def _update(self) -> None:
        """One optimizer update, and what falls due after it."""
        start, progress = perf_counter(), self.progress
        drawn = [self._next_batch() for _ in range(self.config.accumulate)]
        progress.step += 1
        rate = learning_rate(progress.step, progress.updates, self.config, progress.plateau_factor)
        outcome = self._step([item.batch for item in drawn], rate)
        self._unread.append((progress.step, [item.rows for item in drawn], outcome))
        logs = progress.step % self.config.log_every == 0
        validates = progress.step in (progress.next_validation, progress.updates)
        if logs or validates or len(self._unread) >= _UNREAD[self.device.type]:
            self._read_outcomes()
        seconds = self.world.largest(perf_counter() - start)
        progress.training_seconds += seconds
        progress.sums.seconds += seconds
        progress.sums.flops += sum(item.flops for item in drawn)
        if progress.updates == _UNPLANNED and self._speed_is_known:
            self._fit_budget()
        if logs:
            self._log_training(rate)
        if validates or progress.step in (progress.next_validation, progress.updates):
            self._validate()

    def _step(self, batches: list[Batch | StaticBatch], rate: float) -> Outcome:
        return self.updater.update(self.progress.step, batches, rate)

    def _next_batch(self) -> Drawn:
        progress = self.progress
        drawn = self.stream.draw(Place(progress.epoch, progress.position))
        progress.epoch, progress.position = drawn.after.epoch, drawn.after.position
        return drawn

    def _read_outcomes(self) -> None:
        """Takes the figures of the last updates from the device: sums for the log, and what went wrong."""
        progress, unread = self.progress, self._unread
        self._unread = []
        for (step, rows, outcome), figures in zip(
            unread, torch.stack([outcome.figures for _, _, outcome in unread]).tolist() if unread else [], strict=True
        ):
            loss, negative, correct, norm, finite = figures
            progress.splits += outcome.splits
            progress.sums.updates += 1
            if not finite:
                self._skipped(step, rows)
                continue
            self._non_finite = 0
            progress.sums.loss += loss
            progress.sums.negative_log_likelihood += negative
            progress.sums.correct += correct
            progress.sums.gradient_norm += norm
            progress.sums.tokens += outcome.tokens
            progress.target_tokens += outcome.tokens
            self._watch_for_spikes(step, rows, loss / max(outcome.tokens, 1))

    def _skipped(self, step: int, rows: list[Ints]) -> None:
        self.progress.skipped += 1
        self._non_finite += 1
        pairs = _pairs(rows)
        self._emit({"kind": "skipped", "step": step, "pairs": pairs})
        if self._non_finite >= _MAX_NON_FINITE:
            raise NmtError(
                f"loss or gradient was not finite in {_MAX_NON_FINITE} updates in a row, last at update "
                f"{step} (training pairs {', '.join(map(str, pairs))}, ...); "
                "lower training.learning_rate or use --set training.precision=fp32"
            )

    def _watch_for_spikes(self, step: int, rows: list[Ints], loss: float) -> None:
        """Names the batch of a loss far above the running mean, once the warm-up is over."""
        progress = self.progress
        settled = progress.usual_loss > 0 and step > max(100, self.config.warmup or 0)
        if settled and loss > _SPIKE * progress.usual_loss:
            self._emit(
                {"kind": "spike", "step": step, "loss": loss, "usual": progress.usual_loss, "pairs": _pairs(rows)}
            )
        progress.usual_loss = loss if progress.usual_loss == 0 else 0.98 * progress.usual_loss + 0.02 * loss

    def _validate(self) -> None:
        """Loss over the validation set and the score of real translations; then a checkpoint."""
        start, progress = perf_counter(), self.progress
        found = self._measured(self._mean_weights, self.validator.validate)
        score = found.score(self.config.metric)
        if (score, -found.loss) > (progress.best_score, -progress.best_loss):
            progress.best_step, progress.best_score, progress.best_bleu = progress.step, score, found.bleu
            progress.best_loss, progress.stale = found.loss, 0
        else:
            progress.stale += 1
            if progress.stale % self.config.plateau_patience == 0:
                progress.plateau_factor /= 2
        progress.validations += 1
        progress.next_validation = progress.step + self.config.validate_every
        self._emit({"kind": "validation", "step": progress.step, **_known(found), "best": progress.stale == 0})
        release_memory()
        progress.validation_seconds += self.world.largest(perf_counter() - start)
        self._fit_budget()
        self._save()

    def _measured(self, weights: Mapping[str, torch.Tensor] | None, measure: Callable[[], Measured]) -> Measured:
        """What the validator finds of the model with these weights; None: as it is being trained."""
        if weights is None and not (self.updater.shards or self.config.compile):
            return measure()
        trained = self.model
        self.updater.model = build_model(self.recipe.model, *self.tokenizers.sizes).to(self.device)
        try:
            weights = weights or dict(trained.named_parameters())
            store.copy_weights({name: whole(part) for name, part in weights.items()}, self.updater.model, "validation")
            return measure()
        finally:
            self.updater.model = trained

    def _log_training(self, rate: float) -> None:
        sums, tokens = self.progress.sums, max(self.progress.sums.tokens, 1)
        self._emit(
            {
                "kind": "train",
                "step": self.progress.step,
                "updates": self.progress.updates,
                "epoch": self.progress.epoch,
                "loss": sums.loss / tokens,
                "perplexity": exp(sums.negative_log_likelihood / tokens),
                "accuracy": sums.correct / tokens,
                "learning_rate": rate,
                "gradient_norm": sums.gradient_norm / max(sums.updates, 1),
                "tokens_per_second": sums.tokens / max(sums.seconds, 1e-9),
                "utilisation": sums.flops / max(sums.seconds, 1e-9) / self._matrix_rate,
                "seconds": self._seconds,
                "memory_mb": peak_memory_mb(self.device),
            }
        )
        self.progress.sums = Sums()

    def _emit(self, entry: Entry) -> None:
        if not self.world.leads:
            return
        self.run_folder.append(entry)
        self.report(entry)

    def _fit_budget(self) -> None:
        """Plans as many updates as the time left allows at the speed seen so far, validations included."""
        progress = self.progress
        if self.budget is None or progress.step >= progress.updates:
            return
        done = progress.validations
        per_validation = progress.validation_seconds / done if done else 0.01 * self.budget
        ahead = max(1, _VALIDATIONS_IN_BUDGET - done)
        left = self.budget - self._seconds - ahead * per_validation
        per_update = progress.training_seconds / progress.step
        progress.updates = progress.step + max(0, int(left / per_update))
        progress.next_validation = progress.step + math.ceil((progress.updates - progress.step) / ahead)

    @property
    def _speed_is_known(self) -> bool:
        progress, budget = self.progress, self.budget or 0.0
        return progress.step >= _PROBED_UPDATES or (progress.step >= 2 and progress.training_seconds > budget / 20)

    @property
    def _seconds(self) -> float:
        return self.progress.training_seconds + self.progress.validation_seconds

    @property
    def _out_of_patience(self) -> bool:
        return self.config.patience is not None and self.progress.stale >= self.config.patience

    @property
    def _is_saved(self) -> bool:
        return (self.folder / f"step-{self.progress.step:08d}").is_dir()

    def _save(self, validated: bool = True) -> None:
        self._read_outcomes()
        missing = self.world.largest(not self._is_saved)
        if missing and (self.world.leads or self.updater.shards):
            snapshot = store.Snapshot.of(self.model, self.updater.optimizer, self._mean_weights)
            if self.world.leads:
                self._write_checkpoint(snapshot, validated)
        self.world.wait()

    def _write_checkpoint(self, snapshot: store.Snapshot, validated: bool) -> None:
        """Saves, and removes what is not needed any more.

        A checkpoint between validations is there to go on from; it goes with the next one, so that those that are kept, and
        averaged in the end, are the same as without an interruption.
        """
        state = {
            **dataclasses.asdict(self.progress),
            "vocabulary": self.tokenizers.fingerprints,
            "corpus": self.prepared.fingerprint,
            "recipe": identity(self.recipe),
            "validated": validated,
        }
        self.run_folder.check_there()
        if self._claim:
            self._claim.check()
        store.save_checkpoint(self.folder, snapshot, state)
        if validated:
            self._mark_best()

    @property
    def _mean_weights(self) -> dict[str, torch.Tensor] | None:
        return self.updater.mean.weights if self.updater.mean else None

    def _mark_best(self) -> None:
        progress = self.progress
        if progress.best_step:
            store.write_best(self.folder, progress.best_step, {"bleu": progress.best_bleu, "loss": progress.best_loss})
        store.rotate(self.folder, self.config.keep, store.best_checkpoint(self.folder))

    def _resume(self) -> None:
        """Goes on from the newest checkpoint that is whole; log lines after it are dropped."""
        self.run_folder.check_recipe(self.recipe)
        if self.world.leads:
            self.run_folder.begin(self.recipe, self.tokenizers)
            self.run_folder.drop_damaged(self._emit)
        self.world.wait()
        if saved := store.checkpoints(self.folder):
            self._restore(saved[-1])
        self.world.wait()
        if self.world.leads:
            self.run_folder.trim_log(self.progress.step)

    def _restore(self, path: Path) -> None:
        state = read_object(path / store.PROGRESS)
        expected = self.prepared.fingerprint, self.tokenizers.fingerprints
        if (state.get("corpus"), state.get("vocabulary")) != expected:
            raise CheckpointError(f"{path}: was trained on another corpus or tokenizer; use another --run folder")
        planned = {} if self.budget is not None else {"updates": self.config.updates}
        try:
            self.progress = Progress.restore({**state, **planned})
        except ValidationError as error:
            raise CheckpointError(explain(error, Recipe, f"{path / store.PROGRESS}: ")) from None
        if self.budget is None and self.progress.step > self.config.updates:
            raise ConfigError(
                f"{path}: trained further than training.updates = {self.config.updates}; use another --run folder"
            )
        store.load_checkpoint(path, self.model, self.updater.optimizer, self._mean_weights)
        self.updater.arithmetic = Arithmetic(self.progress.precision, self.progress.onednn, self.progress.packed)
        if self.world.leads:
            self._mark_best()

    def _announce(self, plain: str | None) -> None:
        """Says what is trained and how; `plain`: why updates are plain ones, if so."""
        epoch = self.stream.epoch(self.progress.epoch)
        update = {"update": "one CUDA graph" if plain is None else f"plain: {plain}"}
        self._emit(
            {
                "kind": "start",
                "step": self.progress.step,
                "seconds": self._seconds,
                "updates": self.progress.updates,
                "budget": self.budget,
                "parameters": self.model.parameter_count,
                "receptive_field": self.model.receptive_field,
                "device": describe(self.device),
                "processes": self.world.size,
                "precision": self.progress.precision,
                "pairs": len(self.stream.selection.rows),
                "too_long": self.stream.selection.too_long,
                "batches_per_epoch": len(epoch.plan),
                "batch_tokens": self.stream.batch_tokens,
                "padding": self.stream.padding(epoch),
                **(update if self.device.type == "cuda" else {}),
            }
        )

        if self._carried:
            self._emit({"kind": "initialised", "step": 0, **dataclasses.asdict(self._carried)})

    def _chosen(self) -> list[Path]:
        """The checkpoints that the model is made of: the last ones for `training.average`, else the best or the last.

        The best was found greedily, among many, and may be so by luck: the recipe's own search decides between the two.
        """
        saved, best = store.checkpoints(self.folder), store.best_checkpoint(self.folder)
        if self.config.average > 1:
            return saved[-self.config.average :]
        if best is None:
            raise CheckpointError(f"{self.folder}: the best checkpoint is gone; nothing to write a model from")
        if best == saved[-1] or self.config.metric == "loss" or self.budget is not None:
            return [best]
        scores = [self._measured(store.read_weights(path), self.validator.searched) for path in (best, saved[-1])]
        chosen = saved[-1] if scores[1] > scores[0] else best
        entry = {"checkpoint": chosen.name, "metric": self.config.metric, "best": scores[0], "last": scores[1]}
        self._emit({"kind": "choice", "step": self.progress.step, **entry})
        return [chosen]

    def _write_bundle(self) -> None:
        """One checkpoint, or the mean of several, as a bundle; what was not the best so far is validated."""
        progress, chosen = self.progress, self._chosen()
        step, figures = progress.best_step, {"bleu": progress.best_bleu, "loss": progress.best_loss}
        weights = mean_of_checkpoints(chosen)
        if chosen != [store.best_checkpoint(self.folder)]:
            found = self._measured(weights, self.validator.validate)
            step, figures = progress.step, {"bleu": found.bleu, "loss": found.loss}
            if len(chosen) > 1:
                self._emit({"kind": "mean", "step": step, "checkpoints": len(chosen), **_known(found)})
        card = {
            "name": self.recipe.name,
            "parameters": self.model.parameter_count,
            "validation": {**figures, "step": step},
            "seed": self.recipe.seed,
            "budget_seconds": self.budget,
            "updates": progress.step,
            "target_tokens": progress.target_tokens,
            "seconds": round(self._seconds, 1),
            "tokens_per_second": round(progress.target_tokens / max(progress.training_seconds, 1e-9)),
            "corpus": self.prepared.fingerprint,
            "synthetic": bool(self.prepared.report.get("synthetic")),
            "longest_source_words": self.prepared.report["train"]["longest_source_words"],
            "device": describe(self.device),
            "processes": self.world.size,
            "precision": progress.precision,
            "versions": {"nmt": nmt.__version__, "torch": str(torch.__version__)},
        }
        if self.world.leads:
            names = [path.name for path in chosen]
            store.write_bundle(self.run_folder.path / "model", weights, names, self.recipe, self.tokenizers, card)
        self.world.wait()


def _pairs(rows: list[Ints]) -> list[int]:
    """The first training pairs of some batches, counted from 1; one that was drawn several times is named once."""
    return [row + 1 for batch in rows for row in list(dict.fromkeys(batch.tolist()))[:5]]


def _known(found: Validation) -> dict[str, float]:
    return {key: value for key, value in dataclasses.asdict(found).items() if value is not None}
