"""Training speed: our update in each precision against torch's modules as most people use them, on the same batches."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any, Literal

import torch

from nmt.batching import Batch, collate, padding_share, plan_epoch, select
from nmt.bench.rounds import Contender, Outcome, interleave, ratio
from nmt.bench.training_baselines import PlainTraining, plain_model
from nmt.config import ModelConfig, Recipe, RnnConfig
from nmt.device import Precision, choose_arithmetic, describe, fast_products
from nmt.models import build_model
from nmt.prepared import Prepared
from nmt.updater import Updater

Name = Literal["nmt fp32", "nmt bf16", "baseline"]


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
        corpus, training = self.prepared.train, self.recipe.training
        rows = select(corpus, training.max_length).rows
        plan = plan_epoch(corpus, rows, training.batch_tokens, self.recipe.seed, 0)
        return [collate(corpus, chosen) for chosen in islice(plan, self.updates)]

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
            self.updater = Updater(model.to(self.device).train(), training, self.device, arithmetic)
            self.update = self._update

    def run(self) -> dict[str, Any]:
        """One update for each batch; returns tokens and the losses."""
        start = perf_counter()
        losses = [self.update(batch) for batch in self.batches]
        return {
            "tokens": sum(batch.tokens for batch in self.batches),
            "losses": losses,
            "seconds": perf_counter() - start,
            "memory_mb": torch.cuda.max_memory_allocated() / 1e6 if self.device.type == "cuda" else 0,
        }

    def _update(self, batch: Batch) -> float:
        self.number += 1
        outcome = self.updater.update(self.number, [batch], self.rate)
        return float(outcome.figures[0]) / outcome.tokens


def bench_training(work: Work, names: list[Name], rounds: int) -> list[dict[str, Any]]:
    """One row a contender; ratios are medians over the rounds, of target tokens per CPU second (of wall time on CUDA)."""
    makers: dict[str, Callable[[], Contender]] = {name: functools.partial(Trainee, work, name) for name in names}
    outcomes = interleave(makers, rounds, work.threads)
    batches = work.batches()
    shape = work.recipe.model
    flops = statistics.fmean(3 * forward_flops(shape, work.vocabularies[1], batch) / batch.tokens for batch in batches)
    peaks = {precision: matrix_rate(precision, torch.device(work.device)) for precision in ("fp32", "bf16")}
    corpus, training = work.prepared.train, work.recipe.training
    plan = plan_epoch(corpus, select(corpus, training.max_length).rows, training.batch_tokens, work.recipe.seed, 0)
    rows: list[dict[str, Any]] = []
    for name in names:
        own, plain = outcomes[name], outcomes.get("baseline")
        precision: Precision = "bf16" if name == "nmt bf16" else "fp32"
        compared = ratio(own, plain) if plain else None
        wall = [item.tokens_per_second for item in own.rounds]
        rows.append(
            {
                "engine": name.split()[0],
                "family": shape.kind if not isinstance(shape, RnnConfig) else f"rnn ({shape.attention})",
                "device": describe(torch.device(work.device)),
                "threads": work.threads,
                "precision": precision,
                "tokens_per_second": round(statistics.median(wall)),
                "tokens_per_cpu_second": round(own.median),
                "baseline_tokens_per_cpu_second": round(plain.median) if plain else None,
                "ratio": round(compared[0], 3) if compared else None,
                "ratio_range": [round(compared[1], 3), round(compared[2], 3)] if compared else None,
                "ratio_by_the_clock": _wall_ratio(own, plain),
                "flops_per_token": round(flops),
                "utilisation": round(statistics.median(wall) * flops / (peaks[precision] * work.threads), 3),
                "matrix_gflops": round(peaks[precision] / 1e9),
                "padding": round(padding_share(corpus, plan), 4),
                "peak_memory_mb": round(max(own.peak_memory_mb, own.rounds[-1].result["memory_mb"])),
                "start_seconds": round(own.start_seconds, 2),
                "loss": round(own.rounds[-1].result["losses"][-1], 4),
                "foreign_load": round(max(item.foreign_load for item in own.rounds), 3),
            }
        )
    return rows


def forward_flops(config: ModelConfig, vocabulary: int, batch: Batch) -> float:
    """Floating-point operations of the matrix products of one forward pass, padding not counted."""
    sources, targets = float(batch.lengths.sum()), float(batch.tokens)
    if isinstance(config, RnnConfig):
        gates = {"gru": 3, "lstm": 4}[config.cell] * config.hidden
        ways = 2 if config.bidirectional else 1
        width = ways * config.hidden
        encoder = ways * gates * (config.embedding + config.hidden + (config.layers - 1) * (width + config.hidden))
        context = width if config.attention != "none" else config.hidden
        decoder = gates * (config.embedding + context + config.hidden) + (config.layers - 1) * gates * 2 * config.hidden
        readout = (
            config.embedding * (2 if config.readout == "maxout" else 1) * (config.hidden + config.embedding + context)
        )
        attention = 0.0
        if config.attention != "none":
            encoder += width * config.hidden  # keys
            decoder += config.hidden * config.hidden  # queries
            looks = float((batch.lengths * batch.target_output.ne(0).sum(1)).sum())
            attention = looks * (config.hidden + width)
        products = sources * encoder + targets * (decoder + readout + config.embedding * vocabulary) + attention
        return 2 * products
    width, inner = config.width, 2 * config.width * config.feed_forward
    lengths, outputs = batch.lengths.double(), batch.target_output.ne(0).sum(1).double()
    encoder = config.encoder_layers * (4 * width**2 + inner)
    memory = config.decoder_layers * 2 * width**2
    decoder = config.decoder_layers * (6 * width**2 + inner)
    pairs = float(config.encoder_layers * lengths.square().sum())
    pairs += float(config.decoder_layers * (outputs.square().sum() + (outputs * lengths).sum()))
    products = sources * (encoder + memory) + targets * (decoder + width * vocabulary)
    return 2 * (products + 2 * width * pairs)


def matrix_rate(precision: str, device: torch.device) -> float:
    """Floating-point operations a second of a square product on one thread, or on the CUDA device: what is to be had."""
    size = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best = float("inf")
    with fast_products(choose_arithmetic("fp32", device).onednn):
        for _ in range(8):
            start = perf_counter()
            torch.mm(left, right)
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = min(best, perf_counter() - start)
    torch.set_num_threads(threads)
    return 2 * size**3 / best


def _wall_ratio(own: Outcome, plain: Outcome | None) -> float | None:
    if plain is None:
        return None
    pairs = zip(own.rounds, plain.rounds, strict=True)
    return round(statistics.median(one.tokens_per_second / two.tokens_per_second for one, two in pairs), 3)
