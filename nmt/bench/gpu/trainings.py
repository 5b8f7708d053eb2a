"""Training speed, with rounds interleaved with the baselines; and profiles."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from time import perf_counter
from typing import Any

import torch

from nmt.bench.gpu.context import Context
from nmt.bench.profiles import profile_contender
from nmt.bench.training import Name, Trainee, TrainingWork, bench_training
from nmt.config.model import ModelConfig, RnnConfig, TransformerConfig
from nmt.config.recipe import Recipe
from nmt.fast.gpu.layouts import StaticBatch
from nmt.models import build_model
from nmt.training.arithmetic import choose_arithmetic
from nmt.training.batches import Batch
from nmt.training.static_update import StaticUpdate
from nmt.training.stream import BatchStream, StreamPosition
from nmt.training.updater import Updater

BASE = TransformerConfig(width=512, feed_forward=2048, heads=8, encoder_layers=6, decoder_layers=6)
BIG = TransformerConfig(width=1024, feed_forward=4096, heads=16, encoder_layers=6, decoder_layers=6, dropout=0.3)
TINY = TransformerConfig(width=256, feed_forward=1024, heads=4, encoder_layers=3, decoder_layers=3)
RNN = RnnConfig(cell="lstm", hidden=512, embedding=256)
OURS: tuple[Name, ...] = ("nmt bf16", "nmt bf16 plain")
YARDSTICKS: tuple[Name, ...] = ("baseline", "compiled baseline")


def train_base(context: Context) -> None:
    """Trains with 25,000 tokens per batch, an epoch of Multi30k per round."""
    _train(context, BASE, 25_000, 17, (*OURS, *YARDSTICKS))


def train_tiny(context: Context) -> None:
    """Trains with 4,096 tokens per batch."""
    _train(context, TINY, 4_096, 100, (*OURS, *YARDSTICKS))


def train_tiny_wide(context: Context) -> None:
    """Trains with 25,000 tokens per batch."""
    _train(context, TINY, 25_000, 34, (*OURS, *YARDSTICKS))


def train_rnn(context: Context) -> None:
    """Trains with 4,096 tokens per batch; the baseline is the loop over positions."""
    _train(context, RNN, 4_096, 30, (*OURS, "baseline"))


def train_big(context: Context) -> None:
    """Trains with 25,000 tokens per batch; all contenders must fit into one card's memory together."""
    _train(context, BIG, 25_000, 8, ("nmt bf16", "compiled baseline"))


def compile_base(context: Context) -> None:
    """Compiles a baseline ahead, so that its own process finds it compiled."""
    Trainee(_work(context, BASE, 4_096, 2), "compiled baseline").run()


def compile_tiny(context: Context) -> None:
    """See `compile_base`."""
    Trainee(_work(context, TINY, 4_096, 2), "compiled baseline").run()


def compile_big(context: Context) -> None:
    """See `compile_base`."""
    Trainee(_work(context, BIG, 4_096, 2), "compiled baseline").run()


def compare_beside(context: Context) -> None:
    """Compares updates with the gradients of weights in a separate stream and in the same one; see `nmt.fast.gpu.aside`."""
    for title, model, tokens, updates in (("tiny", TINY, 4_096, 60), ("base", BASE, 25_000, 12)):
        work = _work(context, model, tokens, updates)
        with closing(BatchStream(work.recipe, work.prepared)) as stream:
            stream.lay_out(context.device)
            place, batches = StreamPosition(), list[StaticBatch]()
            for _ in range(work.updates):
                drawn = stream.draw(place)
                place, batch = drawn.after, drawn.batch
                if not isinstance(batch, Batch):
                    batches.append(batch)
        one, two = (_static(context, work, beside) for beside in (False, True))
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(1 if context.quick else 4):
            for beside, updater in ((False, one), (True, two)):
                seconds[beside].append(_timed(context, updater, batches))
        for beside, name in ((False, "in one row"), (True, "beside")):
            context.write(f"{title} {name}", 1e3 * min(seconds[beside]) / len(batches), "ms an update")
        apart = max(
            float((a - b).detach().abs().max())
            for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True)
        )
        context.write(f"{title} weights apart", apart, "")


def _static(context: Context, work: TrainingWork, beside: bool) -> Updater:
    torch.manual_seed(1)
    model = build_model(work.recipe.model, *work.vocabularies).to(context.device).train()
    updater = Updater(model, work.recipe.training, context.device, choose_arithmetic("bf16", context.device))
    updater.static = StaticUpdate(updater, work.recipe.training.max_length + 1, beside=beside)
    return updater


def _timed(context: Context, updater: Updater, batches: Sequence[StaticBatch]) -> float:
    """Returns the seconds of an update of each batch."""
    updater.update(1, batches[:1], 1e-4)
    _wait(context)
    start = perf_counter()
    for number, batch in enumerate(batches, 2):
        updater.update(number, [batch], 1e-4)
    _wait(context)
    return perf_counter() - start


def _wait(context: Context) -> None:
    if context.on_gpu:
        torch.cuda.synchronize(context.device)


def profile(context: Context) -> None:
    """Profiles updates: kernels, their number, and the share of time in which the card computes."""
    for title, model, tokens, updates in (
        ("base", BASE, 25_000, 8),
        ("tiny", TINY, 4_096, 20),
        ("rnn", RNN, 4_096, 8),
    ):
        for name in OURS[: 1 if title == "rnn" else 2]:
            found = profile_contender(_work(context, model, tokens, updates), name)
            label = f"{title} {name}"
            context.write(f"{label} kernels", found.kernels, "an update")
            context.write(f"{label} busy", found.busy, "of the time")
            context.write(f"{label} update", found.milliseconds, "ms")
            with (context.out / "profile.txt").open("a", encoding="utf-8") as file:
                file.write(f"{title}, {found.title}\n{found.table}\n\n")


def _work(context: Context, model: ModelConfig, tokens: int, updates: int) -> TrainingWork:
    recipe = _recipe(
        context.recipe, _small(model) if context.quick else model, min(tokens, 512) if context.quick else tokens
    )
    return TrainingWork(recipe, context.prepared, str(context.device), 2, 2 if context.quick else updates)


def _train(context: Context, model: ModelConfig, tokens: int, updates: int, names: Sequence[Name]) -> None:
    work = _work(context, model, tokens, updates)
    names = [name for name in names if context.on_gpu or name in ("nmt bf16", "baseline")]

    def so_far(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            label = f"nmt {row['precision']}" if row["engine"] == "nmt" else row["engine"]
            context.write(f"{label} speed", row["tokens_per_second"], "tokens/s", row)
            context.write(f"{label} share of the matrix rate", row["utilisation"], "")
            for key, yardstick in (("ratio_by_the_clock", "baseline"), ("ratio_to_compiled", "compiled baseline")):
                if row[key] is not None and row["engine"] == "nmt":
                    context.write(f"{label} to the {yardstick}", row[key], "times")

    def left_out(words: str) -> None:
        context.write("left out", words[:300], "")

    bench_training(work, names, 1 if context.quick else 3, left_out, so_far, Exception)


def _recipe(recipe: Recipe, model: ModelConfig, tokens: int) -> Recipe:
    """Returns the recipe with another model and batch size."""
    training = recipe.training.model_copy(update={"batch_tokens": tokens, "learning_rate": 1e-3})
    return recipe.model_copy(update={"model": model, "training": training})


def _small(model: ModelConfig) -> ModelConfig:
    if isinstance(model, RnnConfig):
        return model.model_copy(update={"hidden": 16, "embedding": 12})
    return model.model_copy(
        update={"width": 16, "feed_forward": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    )
