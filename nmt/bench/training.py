"""Training speed: our update in each precision against torch's modules as most people use them, on the same batches."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from nmt.batching import Batch, collate, padding_share
from nmt.bench.rounds import Contender, interleave, ratio
from nmt.bench.training_baselines import PlainTraining, plain_model
from nmt.config import Recipe
from nmt.cpu import instructions
from nmt.device import Precision, choose_arithmetic, describe
from nmt.flops import matrix_rate, training_flops
from nmt.models import build_model
from nmt.prepared import Prepared
from nmt.stream import BatchStream
from nmt.updater import Updater

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
Name = Literal["nmt fp32", "nmt bf16", "baseline"]
CONTENDERS: tuple[Name, ...] = ("nmt fp32", "nmt bf16", "baseline")


@dataclass(frozen=True)
class Work:
    """What every contender trains on."""

    recipe: Recipe
    prepared: Prepared
    device: str
    threads: int
    updates: int
    """In one round."""

    def batches(self) -> list[Batch]:
        """The first batches of an epoch."""
        with closing(BatchStream(self.recipe, self.prepared)) as stream:
            epoch = stream.epoch(0)
        return [collate(epoch.corpus, rows) for rows in islice(epoch.plan, self.updates)]

    def padding(self) -> float:
        """Share of padding in an epoch."""
        with closing(BatchStream(self.recipe, self.prepared)) as stream:
            return padding_share(stream.epoch(0).corpus, stream.epoch(0).plan)

    @property
    def vocabularies(self) -> tuple[int, int]:
        """Sizes, source and target."""
        tokenizers = self.prepared.tokenizers
        return tokenizers.source.vocabulary_size, tokenizers.target.vocabulary_size


class Trainee:
    """A contender: makes the updates of a round, always the same batches."""

    def __init__(self, work: Work, name: Name) -> None:
        self.device, self.number = torch.device(work.device), 0
        self.batches = [batch.to(self.device) for batch in work.batches()]
        torch.manual_seed(work.recipe.seed)
        model, training = build_model(work.recipe.model, *work.vocabularies), work.recipe.training
        self.rate = training.learning_rate / 4
        if name == "baseline":
            plain = plain_model(work.recipe.model, *work.vocabularies, like=model).to(self.device).train()
            self.plain = PlainTraining(plain, training.label_smoothing, self.rate, training.adam_betas)
            self.update = self.plain.update
        else:
            precision: Precision = "bf16" if name == "nmt bf16" else "fp32"
            arithmetic = choose_arithmetic(precision, self.device)
            model = model.to(self.device).train()
            if training.compile:
                model.compile_steps()
            self.updater = Updater(model, training, self.device, arithmetic)
            self.update = self._update

    def run(self) -> dict[str, Any]:
        """One update for each batch; returns tokens and the losses per token, for which the device is waited for once."""
        losses = torch.stack([self.update(batch) for batch in self.batches]).tolist()
        return {
            "tokens": sum(batch.tokens for batch in self.batches),
            "losses": losses,
            "memory_mb": torch.cuda.max_memory_allocated() / 1e6 if self.device.type == "cuda" else 0,
        }

    def _update(self, batch: Batch) -> Tensor:
        self.number += 1
        outcome = self.updater.update(self.number, [batch], self.rate)
        return outcome.figures[0] / outcome.tokens


def bench_training(work: Work, names: Sequence[Name], rounds: int) -> list[dict[str, Any]]:
    """One row a contender; ratios are medians over the rounds, of target tokens per CPU second, and by the clock.

    On CUDA all are by the clock, and the baseline is in bf16.
    """
    makers: dict[str, Callable[[], Contender]] = {name: functools.partial(Trainee, work, name) for name in names}
    outcomes = interleave(makers, rounds, work.threads)
    batches = work.batches()
    shape = work.recipe.model
    tokens = sum(batch.tokens for batch in batches)
    flops = sum(training_flops(shape, work.vocabularies[1], batch) for batch in batches) / tokens
    device, threads = torch.device(work.device), torch.get_num_threads()
    torch.set_num_threads(work.threads)
    peaks = {name: matrix_rate(choose_arithmetic(name, device), device) for name in PRECISIONS}
    torch.set_num_threads(threads)
    padding, on_gpu = work.padding(), device.type == "cuda"
    rows: list[dict[str, Any]] = []
    for name in names:
        own, plain = outcomes[name], outcomes.get("baseline")
        half = name == "nmt bf16" or (name == "baseline" and on_gpu)
        precision: Precision = "bf16" if half else "fp32"
        compared = ratio(own, plain, clock=on_gpu) if plain else None
        wall = [item.tokens_per_second for item in own.rounds]
        rows.append(
            {
                "engine": name.partition(" ")[0],
                "family": shape.family,
                "device": describe(device, work.threads),
                "instructions": instructions().name,
                "threads": work.threads,
                "precision": precision,
                "tokens_per_second": round(statistics.median(wall)),
                "tokens_per_cpu_second": round(own.median),
                "baseline_tokens_per_cpu_second": round(plain.median) if plain else None,
                "ratio": round(compared[0], 3) if compared else None,
                "ratio_range": [round(compared[1], 3), round(compared[2], 3)] if compared else None,
                "ratio_by_the_clock": round(ratio(own, plain, clock=True)[0], 3) if plain else None,
                "flops_per_token": round(flops),
                "utilisation": round(statistics.median(wall) * flops / peaks[precision], 3),
                "matrix_gflops": round(peaks[precision] / 1e9),
                "padding": round(padding, 4),
                "peak_memory_mb": round(max(own.peak_memory_mb, own.rounds[-1].result["memory_mb"])),
                "start_seconds": round(own.start_seconds, 2),
                "loss": round(statistics.fmean(own.rounds[-1].result["losses"]), 4),
                "foreign_load": round(max(item.foreign_load for item in own.rounds), 3),
            }
        )
    return rows


def profile_training(work: Work) -> str:
    """Where the time of our updates goes, by torch's operation: a table for each precision."""
    tables: list[str] = []
    for name in ("nmt fp32", "nmt bf16"):
        trainee = Trainee(work, name)
        trainee.run()
        with torch.profiler.profile(acc_events=True) as profiler:
            trainee.run()
        by = f"self_{trainee.device.type}_time_total"
        table = profiler.key_averages().table(sort_by=by, row_limit=25, max_name_column_width=40)
        tables.append(f"{name}, {len(trainee.batches)} updates, {describe(trainee.device)}\n{table}")
    return "\n\n".join(tables) + "\n"
