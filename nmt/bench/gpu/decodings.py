"""Call B: the command trains a base Transformer for a minute, which then translates the training source."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch

from nmt.bench.decoding import DecodingWork, Variant, bench_decoding
from nmt.bench.gpu.context import NMT, Context, run_command
from nmt.bench.gpu.ledger import read_figures
from nmt.runtime.device import SearchPrecision
from nmt.storage.bundle import load_model
from nmt.translation.translator import Translator

_BASE = {"width": 512, "feed_forward": 2048, "heads": 8, "encoder_layers": 6, "decoder_layers": 6}
_SMALL = {"width": 16, "feed_forward": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}
_LINES = 29_000


def train_model(context: Context) -> None:
    """Runs `nmt train` for a minute, to measure the speed of the whole."""
    updates = ["--set", "training.updates=4", "--set", "training.validate_every=2"]
    budget = ["--budget", "60s", "--set", "training.schedule=cosine", "--set", "training.learning_rate=0.001"]
    sizes = [f"model.{name}={value}" for name, value in (_SMALL if context.quick else _BASE).items()]
    tokens = 512 if context.quick else 25_000
    for setting in (*sizes, f"training.batch_tokens={tokens}", "training.log_every=10"):
        budget += ["--set", setting]
        updates += ["--set", setting]
    command = [*NMT, "train", str(context.recipe_path), "--run", str(_run(context)), "--device", str(context.device)]
    run_command([*command, *(updates if context.quick else budget)])
    rows = read_figures(_run(context) / "log.jsonl")
    trained = [row for row in rows if row.get("kind") == "train"]
    if trained:
        context.write(
            "speed in steady state",
            statistics.median(r["tokens_per_second"] for r in trained[2:] or trained),
            "tokens/s",
        )
        context.write(
            "share of the matrix rate", statistics.median(r["utilisation"] for r in trained[2:] or trained), ""
        )
        context.write("updates", trained[-1]["step"], "")
    for row in rows:
        if row.get("kind") == "validation":
            context.write("validation BLEU", row["bleu"], f"after {row['step']} updates")


def decode_beam(context: Context) -> None:
    """Decodes with beam 5."""
    _decode(context, 5, 2)


def decode_greedy(context: Context) -> None:
    """Decodes with beam 1."""
    _decode(context, 1, 2)


def decode_changes(context: Context) -> None:
    """Counts lines whose translation depends on their batch; in bf16 some do."""
    loaded, lines = load_model(_run(context)), _lines(context)[: 8 if context.quick else 4000]
    search = loaded.recipe.search.model_copy(update={"beam": 5})
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(1)).tolist()
    precisions: tuple[SearchPrecision, ...] = ("fp32", "bf16")
    for precision in precisions:
        one = Translator(loaded, context.device, search, precision).translate(lines)
        other = Translator(loaded, context.device, search, precision, 37).translate([lines[row] for row in order])
        changed = sum(one[row] != line for row, line in zip(order, other, strict=True))
        context.write(f"{precision} lines that change with their batch", changed / len(lines), f"of {len(lines)}")


def _run(context: Context) -> Path:
    return context.work / "base"


def _lines(context: Context) -> list[str]:
    return list(context.prepared.pairs_source()[: 8 if context.quick else _LINES])


def _decode(context: Context, beam: int, rounds: int) -> None:
    loaded = load_model(_run(context))
    search = loaded.recipe.search.model_copy(update={"beam": beam, "stopping": "count"})
    work = DecodingWork(_run(context), _lines(context), search, None, 2, str(context.device))
    variants = [Variant("nmt", "bf16"), Variant("text", "bf16"), Variant("loop", "bf16")]
    variants.append(Variant("ctranslate2", "float16" if context.on_gpu else "float32"))

    def so_far(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            label = f"{row['engine']} {row['precision']}"
            context.write(f"{label} speed", row["tokens_per_second"], "tokens/s", row)
            if row["ratio_to_ctranslate2_float16"] is not None and row["engine"] != "ctranslate2":
                context.write(f"{label} to CTranslate2 float16", row["ratio_to_ctranslate2_float16"], "times")
            if row["latency_p50_ms"] is not None:
                context.write(f"{label} one sentence", row["latency_p50_ms"], "ms")

    def left_out(words: str) -> None:
        context.write("left out", words[:300], "")

    so_far(bench_decoding(work, variants, 1 if context.quick else rounds, left_out, so_far, Exception))
