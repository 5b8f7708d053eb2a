"""Training speed: our update in each precision against torch's modules in common use, on the same sentences.

On a CPU batches are made ahead. On a GPU each contender draws them while it trains. So the way from corpus to card counts,
and shapes are as new as in a training.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Literal

import torch
from torch import Tensor

from nmt.bench.rounds import Contender, Measurement, interleave, ratio
from nmt.bench.training_baselines import PlainTraining, plain_model
from nmt.config.recipe import Recipe
from nmt.corpus.prepared import Prepared
from nmt.errors import NmtError
from nmt.fast.gpu.layouts import StaticBatch
from nmt.models import build_model
from nmt.runtime.cpu import has_fast_bf16, instructions
from nmt.runtime.device import Precision, describe
from nmt.training.arithmetic import choose_arithmetic
from nmt.training.batches import Batch, collate, padding_share
from nmt.training.flops import matrix_rate, training_flops
from nmt.training.progress import Progress
from nmt.training.rehearsal import rehearse
from nmt.training.stream import BatchStream, StreamPosition
from nmt.training.updater import Updater

Name = Literal["nmt fp32", "nmt bf16", "nmt bf16 plain", "baseline", "compiled baseline"]
"""`plain` means updates of padded batches, call by call, where a GPU would use others; see `nmt.training.static_update`."""


def contenders(recipe: Recipe, device: torch.device) -> tuple[Name, ...]:
    """Returns the contenders for a model. torch has none by convolution or for pictures; a loop over positions is not compiled.

    Without bf16 instructions an update in bf16 takes minutes, so it is left out.
    """
    names: list[Name] = ["nmt fp32"]
    if device.type == "cuda" or has_fast_bf16():
        names.append("nmt bf16")
    if recipe.model.kind not in ("convolution", "visual"):
        names.append("baseline")
    if device.type == "cuda":
        names.insert(2, "nmt bf16 plain")
        if recipe.model.kind == "transformer":
            names.append("compiled baseline")
    return tuple(names)


@dataclass(frozen=True)
class TrainingWork:
    """The work of every contender."""

    recipe: Recipe
    prepared: Prepared
    device: str
    threads: int
    updates: int
    """Number of updates per round."""

    def batches(self) -> list[Batch]:
        """Returns the first batches of an epoch."""
        with closing(BatchStream(self.recipe, self.prepared)) as stream:
            epoch = stream.epoch(0)
        return [collate(epoch.corpus, rows) for rows in islice(epoch.plan, self.updates)]

    def supply(self, device: torch.device, stream: BatchStream) -> Iterator[Batch | StaticBatch]:
        """Yields batches without end: on CPU the first ones of an epoch in a cycle, else as training draws them."""
        if device.type == "cpu":
            yield from cycle(self.batches())
        place = StreamPosition()
        while True:
            drawn = stream.draw(place)
            place, batch = drawn.after, drawn.batch
            yield batch.to(device) if isinstance(batch, Batch) else batch

    def padding(self) -> float:
        """Returns the share of padding in an epoch."""
        with closing(BatchStream(self.recipe, self.prepared)) as stream:
            return padding_share(stream.epoch(0).corpus, stream.epoch(0).plan)

    @property
    def vocabularies(self) -> tuple[int, int]:
        """Sizes of the source and target vocabularies."""
        tokenizers = self.prepared.tokenizers
        return tokenizers.source.vocabulary_size, tokenizers.target.vocabulary_size


class Trainee:
    """A contender that makes the updates of a round."""

    def __init__(self, work: TrainingWork, name: Name) -> None:
        self.work, self.device, self.number = work, torch.device(work.device), 0
        stream = BatchStream(work.recipe, work.prepared, pinned=self.device.type == "cuda")
        self.batches = work.supply(self.device, stream)
        torch.manual_seed(work.recipe.seed)
        model, training = build_model(work.recipe.model, *work.vocabularies), work.recipe.training
        self.rate = training.learning_rate / 4
        if name.endswith("baseline"):
            plain = plain_model(work.recipe.model, *work.vocabularies, like=model).to(self.device).train()
            compiled = name.startswith("compiled")
            self.plain = PlainTraining(plain, training.label_smoothing, self.rate, training.adam_betas, compiled)
            self.update = self._plain_update
        else:
            precision: Precision = "fp32" if name == "nmt fp32" else "bf16"
            arithmetic = choose_arithmetic(precision, self.device)
            model = model.to(self.device).train()
            if training.compile:
                model.compile_steps()
            self.updater = Updater(model, training, self.device, arithmetic)
            self.update = self._update
            if self.device.type == "cuda" and name != "nmt bf16 plain":
                rehearse(work.recipe, stream, self.updater, Progress())

    def run(self) -> dict[str, Any]:
        """Makes the updates of a round; returns tokens and losses per token, with one wait for the device."""
        tokens, losses = 0, list[Tensor]()
        for batch in islice(self.batches, self.work.updates):
            losses.append(self.update(batch))
            tokens += batch.tokens
        return {
            "tokens": tokens,
            "losses": torch.stack(losses).tolist(),
            "memory_mb": torch.cuda.max_memory_allocated() / 1e6 if self.device.type == "cuda" else 0,
        }

    def _plain_update(self, batch: Batch | StaticBatch) -> Tensor:
        if not isinstance(batch, Batch):
            raise TypeError("torch's modules read padded batches")
        return self.plain.update(batch)

    def _update(self, batch: Batch | StaticBatch) -> Tensor:
        self.number += 1
        outcome = self.updater.update(self.number, [batch], self.rate)
        return outcome.figures[0] / outcome.tokens


def bench_training(
    work: TrainingWork,
    names: Sequence[Name],
    rounds: int,
    say: Callable[[str], None] = lambda _: None,
    so_far: Callable[[list[dict[str, Any]]], None] = lambda _: None,
    excused: type[Exception] = NmtError,
) -> list[dict[str, Any]]:
    """Returns a row per contender; ratios are medians over the rounds, of target tokens per CPU second and per second.

    On CUDA all are per second, and the baseline is in bf16.

    Args:
        work: the training to time.
        names: the contenders.
        rounds: number of rounds that count.
        say: receives which contenders are left out, and why.
        so_far: receives the rows after each round.
        excused: see `interleave`.
    """
    measured = _Measured.of(work, names)
    makers: dict[str, Callable[[], Contender]] = {name: functools.partial(Trainee, work, name) for name in names}
    outcomes = interleave(makers, rounds, work.threads, say, lambda known: so_far(measured.rows(known, names)), excused)
    return measured.rows(outcomes, names)


def _precision(name: Name, device: torch.device) -> Precision:
    half = name.startswith("nmt bf16") or (name.endswith("baseline") and device.type == "cuda")
    return "bf16" if half else "fp32"


@dataclass(frozen=True)
class _Measured:
    """Measurements that rows contain besides the speed."""

    work: TrainingWork
    flops: float
    """Operations per target token."""
    peaks: dict[Precision, float]
    """Operations per second of large products."""
    padding: float

    @classmethod
    def of(cls, work: TrainingWork, names: Sequence[Name]) -> _Measured:
        batches, device = work.batches(), torch.device(work.device)
        tokens = sum(batch.tokens for batch in batches)
        flops = sum(training_flops(work.recipe.model, work.vocabularies[1], batch) for batch in batches) / tokens
        threads = torch.get_num_threads()
        torch.set_num_threads(work.threads)
        precisions: set[Precision] = {_precision(name, device) for name in names}
        peaks: dict[Precision, float] = {
            precision: matrix_rate(choose_arithmetic(precision, device), device) for precision in precisions
        }
        torch.set_num_threads(threads)
        return cls(work, flops, peaks, work.padding())

    def rows(self, outcomes: dict[str, Measurement], names: Sequence[Name]) -> list[dict[str, Any]]:
        """Returns a row for each contender that was not left out."""
        return [self._row(name, outcomes) for name in names if name in outcomes]

    def _row(self, name: Name, outcomes: dict[str, Measurement]) -> dict[str, Any]:
        work, own, plain = self.work, outcomes[name], outcomes.get("baseline")
        device = torch.device(work.device)
        on_gpu = device.type == "cuda"
        precision = _precision(name, device)
        compared = ratio(own, plain, clock=on_gpu) if plain else None
        compiled = outcomes.get("compiled baseline")
        speed = statistics.median(item.tokens_per_second for item in own.rounds)
        alone = speed if on_gpu else own.median * work.threads  # by the same clock as the peaks
        return {
            "engine": "nmt plain" if name.endswith("plain") else name if name.endswith("baseline") else "nmt",
            "family": work.recipe.model.family,
            "device": describe(device, work.threads),
            "instructions": instructions().name,
            "threads": work.threads,
            "precision": precision,
            "tokens_per_second": round(speed),
            "tokens_per_cpu_second": round(own.median),
            "baseline_tokens_per_cpu_second": round(plain.median) if plain else None,
            "ratio": round(compared[0], 3) if compared else None,
            "ratio_range": [round(compared[1], 3), round(compared[2], 3)] if compared else None,
            "ratio_by_the_clock": round(ratio(own, plain, clock=True)[0], 3) if plain else None,
            "ratio_to_compiled": round(ratio(own, compiled, clock=True)[0], 3) if compiled else None,
            "flops_per_token": round(self.flops),
            "utilisation": round(alone * self.flops / self.peaks[precision], 3),
            "matrix_gflops": round(self.peaks[precision] / 1e9),
            "padding": round(self.padding, 4),
            "peak_memory_mb": round(max(own.peak_memory_mb, own.rounds[-1].result["memory_mb"])),
            "start_seconds": round(own.start_seconds, 2),
            "first_seconds": round(own.first_seconds, 2),
            "loss": round(statistics.fmean(own.rounds[-1].result["losses"]), 4),
            "foreign_load": round(max(item.foreign_load for item in own.rounds), 3),
        }
