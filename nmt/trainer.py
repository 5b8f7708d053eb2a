"""Training: one readable loop, one update, and a state from which it goes on as if it had never stopped."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

import nmt
from nmt import checkpoint as store
from nmt.batching import Batch, collate, padding_share, plan_epoch, select
from nmt.config import Recipe, load_recipe, recipe_to_toml
from nmt.dataset import Ints
from nmt.device import autocast, choose_precision, describe, peak_memory_mb, seed_update
from nmt.errors import CheckpointError, ConfigError, DataError, NmtError
from nmt.files import atomic_write, clear_litter, fingerprint
from nmt.loss import smoothed_cross_entropy
from nmt.metrics import bleu
from nmt.models import build_model
from nmt.optim import learning_rate, make_optimizer
from nmt.prepared import Prepared
from nmt.progress import Progress, Sums
from nmt.running import TrainingInterrupted, only_trainer, stop_signals
from nmt.translator import Translator

Entry = dict[str, Any]
Reporter = Callable[[Entry], None]

_MAX_NON_FINITE = 10
_UNPLANNED = 1_000_000_000  # updates of a budgeted training before its speed is known
_PROBED_UPDATES = 20
_VALIDATIONS_IN_BUDGET = 8
# Changing these between two starts of a run changes nothing that was learnt so far.
_HARMLESS = ("search.", "training.updates", "training.keep", "training.patience", "training.log_every")


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
    ) -> None:
        """Checks everything that can be checked before work begins.

        Args:
            recipe: what to train and how.
            prepared: the encoded corpus.
            run: folder of logs, checkpoints and the finished model.
            device: where to train.
            report: receives each log entry.
            budget: seconds to train, validations included; replaces `training.updates`.

        Raises:
            ConfigError: the budget does not go with the schedule, or the run belongs to another recipe.
            DataError: no training pair fits the length limit.
        """
        if budget is not None and recipe.training.schedule != "cosine":
            raise ConfigError(
                "--budget needs a schedule that ends when time is up: "
                f"--set training.schedule=cosine, not {recipe.training.schedule}"
            )
        self.recipe, self.config, self.prepared = recipe, recipe.training, prepared
        self.run_folder, self.folder = run, run / "checkpoints"
        self.device, self.report, self.budget = device, report, budget
        self.selection = select(prepared.train, self.config.max_length)
        if not len(self.selection.rows):
            raise DataError(f"no training pair has at most training.max_length = {self.config.max_length} tokens")
        self.tokenizers = prepared.tokenizers
        torch.manual_seed(recipe.seed)
        sizes = self.tokenizers.source.vocabulary_size, self.tokenizers.target.vocabulary_size
        self.model = build_model(recipe.model, *sizes).to(device)
        self.optimizer = make_optimizer(self.model, self.config)
        self.progress = Progress(
            updates=self.config.updates if budget is None else _UNPLANNED,
            next_validation=self.config.validate_every if budget is None else _UNPLANNED,
            precision=choose_precision(self.config.precision, device),
        )
        self.validation = prepared.testset("valid")
        self._plan: tuple[int, list[Ints]] | None = None
        self._non_finite = 0

    def run(self) -> Progress:
        """Trains to the end and writes the bundle.

        Raises:
            TrainingInterrupted: a signal came; everything is saved.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with only_trainer(self.run_folder), stop_signals() as stop:
            clear_litter(self.folder)
            clear_litter(self.run_folder)
            self._resume()
            self._announce()
            while self.progress.step < self.progress.updates and not self._out_of_patience:
                self._update()
                if stop.number:
                    self._save()
                    raise TrainingInterrupted(stop.number, self.progress.step)
            if not self._is_saved:
                self._validate()
            self._write_bundle()
        return self.progress

    def _update(self) -> None:
        """One optimizer update, and what falls due after it."""
        start, progress = perf_counter(), self.progress
        batches = [self._next_batch() for _ in range(self.config.accumulate)]
        progress.step += 1
        norm, rate = self._step(batches)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = perf_counter() - start
        progress.training_seconds += seconds
        progress.sums.seconds += seconds
        progress.sums.gradient_norm += norm
        progress.sums.updates += 1
        if progress.updates == _UNPLANNED and self._speed_is_known:
            self._fit_budget()
        if progress.step % self.config.log_every == 0:
            self._log_training(rate)
        if progress.step in (progress.next_validation, progress.updates):
            self._validate()

    def _step(self, batches: list[tuple[Ints, Batch]]) -> tuple[float, float]:
        """Gradients of all batches weighted by tokens, one optimizer step; returns gradient norm and learning rate."""
        progress, config = self.progress, self.config
        seed_update(self.recipe.seed, progress.step)
        rate = learning_rate(progress.step, progress.updates, config, progress.plateau_factor)
        tokens = sum(batch.tokens for _, batch in batches)
        sums = [0.0, 0.0, 0.0]
        for _, batch in batches:
            loss = self._loss(batch.to(self.device), config.label_smoothing)
            (loss.total / tokens).backward()
            parts = torch.stack([loss.total.detach(), loss.negative_log_likelihood, loss.correct]).tolist()
            sums = [total + part for total, part in zip(sums, parts, strict=True)]
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip))
        if math.isfinite(sums[0]) and math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            self._non_finite = 0
            progress.sums.loss += sums[0]
            progress.sums.negative_log_likelihood += sums[1]
            progress.sums.correct += sums[2]
            progress.sums.tokens += tokens
            progress.target_tokens += tokens
        else:
            norm = 0.0
            self._skip_update([rows for rows, _ in batches])
        self.optimizer.zero_grad(set_to_none=True)
        return norm, rate

    def _loss(self, batch: Batch, smoothing: float) -> Any:
        with autocast(self.device, self.progress.precision):
            hidden = self.model(batch.source, batch.lengths, batch.target_input)
        return smoothed_cross_entropy(hidden, self.model.output, batch.target_output, smoothing)

    def _skip_update(self, rows: list[Ints]) -> None:
        self.progress.skipped += 1
        self._non_finite += 1
        pairs = [int(row) + 1 for batch in rows for row in batch[:5]]
        self._emit({"kind": "skipped", "step": self.progress.step, "pairs": pairs})
        if self._non_finite >= _MAX_NON_FINITE:
            raise NmtError(
                f"loss or gradient was not finite in {_MAX_NON_FINITE} updates in a row, last at update "
                f"{self.progress.step} (training pairs {', '.join(map(str, pairs))}, ...); "
                "lower training.learning_rate or use --set training.precision=fp32"
            )

    def _next_batch(self) -> tuple[Ints, Batch]:
        progress = self.progress
        if self._plan is None or self._plan[0] != progress.epoch:
            self._plan = (progress.epoch, self._plan_epoch(progress.epoch))
        if progress.position == len(self._plan[1]):
            progress.epoch, progress.position = progress.epoch + 1, 0
            self._plan = (progress.epoch, self._plan_epoch(progress.epoch))
        rows = self._plan[1][progress.position]
        progress.position += 1
        return rows, collate(self.prepared.train, rows)

    def _plan_epoch(self, epoch: int) -> list[Ints]:
        return plan_epoch(self.prepared.train, self.selection.rows, self.config.batch_tokens, self.recipe.seed, epoch)

    def _validate(self) -> None:
        """Loss over the validation set and BLEU of real translations; then a checkpoint."""
        start, progress = perf_counter(), self.progress
        self.model.eval()
        losses, bleu_score = self._validation_loss(), self._validation_bleu()
        self.model.train()
        if (bleu_score, -losses["loss"]) > (progress.best_bleu, -progress.best_loss):
            progress.best_step, progress.best_bleu, progress.best_loss = progress.step, bleu_score, losses["loss"]
            progress.stale = 0
        else:
            progress.stale += 1
            if progress.stale % self.config.plateau_patience == 0:
                progress.plateau_factor /= 2
        best = progress.stale == 0
        progress.validations += 1
        progress.next_validation = progress.step + self.config.validate_every
        self._emit({"kind": "validation", "step": progress.step, **losses, "bleu": bleu_score, "best": best})
        progress.validation_seconds += perf_counter() - start
        self._fit_budget()
        self._save()

    @torch.no_grad()
    def _validation_loss(self) -> dict[str, float]:
        corpus = self.prepared.valid
        rows = select(corpus, self.config.max_length).rows
        sums, tokens = torch.zeros(3), 0
        for chunk in plan_epoch(corpus, rows, self.config.batch_tokens, 0, 0):
            batch = collate(corpus, chunk)
            loss = self._loss(batch.to(self.device), 0.0)
            sums += torch.stack([loss.total, loss.negative_log_likelihood, loss.correct]).float().cpu()
            tokens += batch.tokens
        loss, _, correct = (sums / max(tokens, 1)).tolist()
        return {"loss": loss, "perplexity": _exp(loss), "accuracy": correct}

    def _validation_bleu(self) -> float:
        search = self.recipe.search.model_copy(update={"beam": 1})
        loaded = store.LoadedModel(self.model, self.tokenizers, self.recipe, self.run_folder, {})
        translator = Translator(loaded, self.device, search, self.progress.precision)
        count = self.config.validation_sentences
        hypotheses = translator.translate(self.validation.source[:count])
        return bleu(hypotheses, self.validation.target[:count])

    def _log_training(self, rate: float) -> None:
        sums, tokens = self.progress.sums, max(self.progress.sums.tokens, 1)
        self._emit(
            {
                "kind": "train",
                "step": self.progress.step,
                "updates": self.progress.updates,
                "epoch": self.progress.epoch,
                "loss": sums.loss / tokens,
                "perplexity": _exp(sums.negative_log_likelihood / tokens),
                "accuracy": sums.correct / tokens,
                "learning_rate": rate,
                "gradient_norm": sums.gradient_norm / max(sums.updates, 1),
                "tokens_per_second": sums.tokens / max(sums.seconds, 1e-9),
                "seconds": self._seconds,
                "memory_mb": peak_memory_mb(self.device),
            }
        )
        self.progress.sums = Sums()

    def _emit(self, entry: Entry) -> None:
        with (self.run_folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
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

    def _save(self) -> None:
        if self._is_saved:
            return
        identity = {"vocabulary": self.tokenizers.fingerprints, "corpus": self.prepared.fingerprint}
        state = {**dataclasses.asdict(self.progress), **identity, "recipe": _identity(self.recipe)}
        store.save_checkpoint(self.folder, self.model, self.optimizer, state)
        self._mark_best()

    def _mark_best(self) -> None:
        progress = self.progress
        if progress.best_step:
            store.write_best(self.folder, progress.best_step, {"bleu": progress.best_bleu, "loss": progress.best_loss})
        store.rotate(self.folder, self.config.keep, store.best_checkpoint(self.folder))

    def _resume(self) -> None:
        """Goes on from the newest checkpoint that is whole; log lines after it are dropped."""
        self._check_recipe()
        atomic_write(self.run_folder / "recipe.toml", recipe_to_toml(self.recipe).encode())
        self.tokenizers.save(self.run_folder)
        for path in reversed(store.checkpoints(self.folder)):
            if reason := store.damage(path):
                self._emit({"kind": "damaged", "step": 0, "checkpoint": path.name, "reason": reason})
                shutil.rmtree(path)
                continue
            state = json.loads((path / store.PROGRESS).read_text(encoding="utf-8"))
            if state["corpus"] != self.prepared.fingerprint or state["vocabulary"] != self.tokenizers.fingerprints:
                raise CheckpointError(f"{path}: was trained on another corpus or tokenizer; use another --run folder")
            store.load_checkpoint(path, self.model, self.optimizer)
            planned = state["updates"] if self.budget is not None else self.config.updates
            self.progress = Progress.restore({**state, "updates": planned})
            self._mark_best()
            break
        self._trim_log()

    def _check_recipe(self) -> None:
        """Refuses to go on with a recipe that would have learnt otherwise; names the keys."""
        if not store.checkpoints(self.folder):
            return
        earlier, now = _flat(load_recipe(self.run_folder / "recipe.toml")), _flat(self.recipe)
        changed = [key for key in sorted({*earlier, *now}) if earlier.get(key) != now.get(key)]
        if refused := [key for key in changed if not key.startswith(_HARMLESS)]:
            details = ", ".join(f"{key} (was {earlier.get(key)!r}, now {now.get(key)!r})" for key in refused)
            raise ConfigError(f"{self.run_folder} was begun with another recipe: {details}; use another --run folder")

    def _trim_log(self) -> None:
        log = self.run_folder / "log.jsonl"
        lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
        kept = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= self.progress.step]
        atomic_write(log, b"".join(kept))

    def _announce(self) -> None:
        plan = self._plan_epoch(self.progress.epoch)
        self._emit(
            {
                "kind": "start",
                "step": self.progress.step,
                "updates": self.progress.updates,
                "budget": self.budget,
                "parameters": self.model.parameter_count,
                "device": describe(self.device),
                "precision": self.progress.precision,
                "pairs": len(self.selection.rows),
                "too_long": self.selection.too_long,
                "batches_per_epoch": len(plan),
                "padding": padding_share(self.prepared.train, plan),
            }
        )

    def _write_bundle(self) -> None:
        best = store.best_checkpoint(self.folder)
        if best is None:
            raise CheckpointError(f"{self.folder}: the best checkpoint is gone; nothing to write a model from")
        progress = self.progress
        card = {
            "name": self.recipe.name,
            "parameters": self.model.parameter_count,
            "validation": {"bleu": progress.best_bleu, "loss": progress.best_loss, "step": progress.best_step},
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
            "precision": progress.precision,
            "versions": {"nmt": nmt.__version__, "torch": str(torch.__version__)},
        }
        store.write_bundle(self.run_folder / "model", best, self.recipe, self.tokenizers, card)


def _identity(recipe: Recipe) -> str:
    return fingerprint({key: value for key, value in _flat(recipe).items() if not key.startswith(_HARMLESS)})


def _flat(recipe: Recipe) -> dict[str, Any]:
    """A recipe as dotted keys."""

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, child in value.items():
                yield from walk(f"{prefix}.{key}" if prefix else str(key), child)
        else:
            yield prefix, value

    return dict(walk("", recipe.model_dump(mode="json")))


def _exp(value: float) -> float:
    return math.exp(min(value, 50.0))
