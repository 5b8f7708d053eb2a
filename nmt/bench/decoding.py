"""Decoding speed: our search in each precision, CTranslate2 with the same weights, and hand-written loops.

All map token ids to token ids, except the variant `text`, which maps lines to lines. The variant `loop` runs our search step
by step, as it does with rules and constraints, even where a search that stays on the GPU exists.
"""

from __future__ import annotations

import functools
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch

import nmt
from nmt.bench.baselines import CellLoop, PlainSearch, WithoutCache
from nmt.bench.rounds import Measurement, interleave, ratio
from nmt.config.search import SearchConfig
from nmt.decoding.batches import search_batches
from nmt.decoding.beam_search import Engine, Hypothesis
from nmt.errors import NmtError
from nmt.export.ctranslate2 import CTranslate2Engine
from nmt.fast.inference import fastest_decoder, for_inference
from nmt.fast.kernels import kernels_for
from nmt.runtime.cpu import instructions
from nmt.runtime.device import SearchPrecision, describe
from nmt.storage.bundle import LoadedModel, load_model
from nmt.translation.result import Options, SearchBatch
from nmt.translation.translator import Translator

EngineName = Literal["nmt", "text", "loop", "shortlist", "ctranslate2", "without cache", "cell loop"]
_OURS = ("nmt", "text", "loop", "shortlist")
_BATCH_TOKENS = 32_768  # source tokens times beam, if the number of sentences is not given
_SIZES = (64, 128, 256, 512, 1024)  # batch sizes among which CTranslate2 has its best on a GPU


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    engine: EngineName
    precision: str
    """fp32, bf16 or int8; CTranslate2's names are float32, bfloat16 and int8."""

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"{self.engine} {self.precision}"


@dataclass(frozen=True)
class DecodingWork:
    """The work of every variant."""

    model: Path
    lines: list[str]
    search: SearchConfig
    batch: int | None
    """Sentences per batch; None: chosen automatically."""
    threads: int
    device: str
    shortlist: Path | None = None
    """Shortlist for the variants of that name."""


class DecodingContender:
    """Translates all lines, in batches of sentences of similar length."""

    def __init__(self, work: DecodingWork, variant: Variant) -> None:
        if variant.engine not in _OURS:
            os.environ["NMT_KERNELS"] = "0"  # in this process: a baseline uses torch's own operations
        loaded = load_model(work.model)
        device = torch.device(work.device)
        self.work, self.variant = work, variant
        precision: SearchPrecision = variant.precision if variant.engine in _OURS else "fp32"  # type: ignore[assignment]
        self.engine = _engine(work, variant, loaded, device, precision)
        options = Options(shortlist=work.shortlist if variant.engine == "shortlist" else None)
        self.translator = Translator(loaded, device, work.search, precision, work.batch, options, engine=self.engine)
        ids = [tokens for tokens in loaded.tokenizers.source.encode(work.lines) if tokens]
        self.batches = [[ids[index] for index in batch] for batch in self._batches([len(tokens) + 1 for tokens in ids])]

    def run(self) -> dict[str, Any]:
        """Searches every batch; returns the number of tokens and sentences, and the hypotheses."""
        found = [hypotheses[0] for batch in self.batches for hypotheses in self.search(batch)]
        tokens = [item.tokens for item in found]
        return {"tokens": sum(len(item) + 1 for item in tokens), "hypotheses": tokens, "sentences": len(tokens)}

    def _batches(self, lengths: list[int]) -> list[list[int]]:
        """Groups sentences of similar length; a search that makes its own batches gets all of them."""
        if self.engine is None and self.translator.decoder.device_search is not None:
            return [list(range(len(lengths)))]
        return search_batches(lengths, _BATCH_TOKENS, self.work.search.beam, self.work.batch)

    def search(self, ids: list[list[int]]) -> list[list[Hypothesis]]:
        """Searches one batch, from token ids to token ids."""
        return self.translator.decoder.search_batch(SearchBatch(ids), 1)


def _engine(
    work: DecodingWork, variant: Variant, loaded: LoadedModel, device: torch.device, precision: SearchPrecision
) -> Engine | None:
    """Returns the search to use instead of our own; None: our own."""
    match variant.engine:
        case "ctranslate2":
            return CTranslate2Engine(loaded, variant.precision, work.threads, device)
        case "loop":
            return PlainSearch(fastest_decoder(for_inference(loaded.model, device, precision)), device)
        case "without cache":
            return PlainSearch(WithoutCache(loaded.model.to(device)), device)
        case "cell loop":
            return PlainSearch(CellLoop(loaded.model), device)
        case _:
            return None


class TextContender(DecodingContender):
    """A contender that translates lines to lines."""

    def run(self) -> dict[str, Any]:
        """Translates all lines; tokens are counted on the first translation."""
        lines = self.translator.translate(self.work.lines)
        if not hasattr(self, "made"):
            self.made = [tokens for tokens in self.translator.tokenizers.target.encode(lines) if tokens]
        return {"tokens": sum(len(item) + 1 for item in self.made), "hypotheses": [], "sentences": len(self.made)}


class Bulk(DecodingContender):
    """CTranslate2 on a GPU: gets all sentences at once, with the fastest batch size."""

    def __init__(self, work: DecodingWork, variant: Variant) -> None:
        super().__init__(work, variant)
        self.ids = [tokens for batch in self.batches for tokens in batch]
        part, times = self.ids[:: max(1, len(self.ids) // 2048)], dict[float, int]()
        for size in (_SIZES[0], *_SIZES):  # the first size twice, as the library warms up
            start = perf_counter()
            self._search(part, size)
            times[perf_counter() - start] = size
        self.size = times[min(times)]

    def run(self) -> dict[str, Any]:
        """Searches all sentences."""
        tokens = [hypotheses[0].tokens for hypotheses in self._search(self.ids, self.size)]
        return {"tokens": sum(len(item) + 1 for item in tokens), "hypotheses": tokens, "sentences": len(tokens)}

    def _search(self, ids: list[list[int]], size: int) -> list[list[Hypothesis]]:
        return self.engine.search(ids, self.work.search, 1, size) if isinstance(self.engine, CTranslate2Engine) else []


def decoder(work: DecodingWork, variant: Variant) -> DecodingContender:
    """Makes the contender of a variant."""
    if variant.engine == "text":
        return TextContender(work, variant)
    on_gpu = torch.device(work.device).type == "cuda"
    return Bulk(work, variant) if on_gpu and variant.engine == "ctranslate2" else DecodingContender(work, variant)


class Latency(DecodingContender):
    """A contender that gets single sentences, one after the other."""

    def run(self) -> dict[str, Any]:
        """Measures milliseconds of each sentence."""
        singles = [[tokens] for batch in self.batches for tokens in batch]
        times: list[float] = []
        tokens = 0
        for single in singles[:: max(1, len(singles) // 50)]:
            start = perf_counter()
            tokens += len(self.search(single)[0][0].tokens) + 1
            times.append(1e3 * (perf_counter() - start))
        return {"tokens": tokens, "milliseconds": times}


def bench_decoding(
    work: DecodingWork,
    variants: list[Variant],
    rounds: int,
    say: Callable[[str], None] = lambda _: None,
    so_far: Callable[[list[dict[str, Any]]], None] = lambda _: None,
    excused: type[Exception] = NmtError,
) -> list[dict[str, Any]]:
    """Returns a row for each variant that this machine can run; ratios are medians over the rounds.

    They compare tokens per CPU second, on CUDA tokens per second.

    Args:
        work: the work to do.
        variants: the variants to compare.
        rounds: number of rounds that count.
        say: receives which variants are left out, and why.
        so_far: receives the rows after each round, without latencies.
        excused: see `interleave`.
    """

    def rows(outcomes: dict[str, Measurement], latencies: dict[str, Measurement]) -> list[dict[str, Any]]:
        return [_row(work, item, outcomes, latencies) for item in variants if item.name in outcomes]

    makers = {item.name: functools.partial(decoder, work, item) for item in variants}
    outcomes = interleave(makers, rounds, work.threads, say, lambda known: so_far(rows(known, {})), excused)
    singles: dict[str, Callable[[], DecodingContender]] = {
        item.name: functools.partial(Latency, work, item)
        for item in variants
        if item.engine not in ("without cache", "text") and item.name in outcomes
    }
    return rows(outcomes, interleave(singles, 2, work.threads, say, excused=excused))


def _row(
    work: DecodingWork, variant: Variant, outcomes: dict[str, Measurement], latencies: dict[str, Measurement]
) -> dict[str, Any]:
    ours = outcomes[variant.name]
    loaded = load_model(work.model)
    times = sorted(
        time
        for item in latencies.get(variant.name, Measurement([], 0, 0, 0)).rounds
        for time in item.result["milliseconds"]
    )
    row: dict[str, Any] = {
        "model": loaded.recipe.name,
        "family": loaded.recipe.model.family,
        "device": describe(torch.device(work.device), work.threads),
        "instructions": instructions().name,
        "threads": work.threads,
        "engine": variant.engine,
        "version": version_of(variant.engine),
        "precision": variant.precision,
        "kernels": variant.engine in _OURS and kernels_for(torch.empty(0, device=work.device)) is not None,
        "beam": work.search.beam,
        "batch": work.batch,
        "sentences_per_second": round(_median([r.result["sentences"] / r.seconds for r in ours.rounds]), 2),
        "tokens_per_second": round(_median([r.tokens_per_second for r in ours.rounds]), 1),
        "tokens_per_cpu_second": round(ours.median, 1),
    }
    on_gpu = torch.device(work.device).type == "cuda"
    for reference, key in (
        ("ctranslate2 float32", "ratio_to_ctranslate2_float32"),
        ("ctranslate2 float16", "ratio_to_ctranslate2_float16"),
        ("ctranslate2 int8", "ratio_to_ctranslate2_int8"),
        ("cell loop fp32", "ratio_to_cell_loop"),
    ):
        found = ratio(ours, outcomes[reference], clock=on_gpu) if reference in outcomes else None
        row[key] = round(found[0], 3) if found else None
        row[f"{key}_range"] = [round(found[1], 3), round(found[2], 3)] if found else None
    row["identical_share"] = _identical(ours, outcomes)
    row["latency_p50_ms"] = round(times[len(times) // 2], 2) if times else None
    row["latency_p95_ms"] = round(times[len(times) * 95 // 100], 2) if times else None
    row["peak_memory_mb"] = round(ours.peak_memory_mb)
    row["start_seconds"] = round(ours.start_seconds, 2)
    row["first_seconds"] = round(ours.first_seconds, 2)
    row["foreign_load"] = round(max(item.foreign_load for item in ours.rounds), 3)
    return row


def version_of(engine: EngineName) -> str:
    """Returns the version of CTranslate2, or of this package and torch."""
    if engine == "ctranslate2":
        return metadata.version("ctranslate2")
    return f"{nmt.__version__}, torch {torch.__version__}"


def _identical(ours: Measurement, outcomes: dict[str, Measurement]) -> float | None:
    """Share of sentences equal to the reference's: CTranslate2 in float32, else ours in fp32."""
    reference = outcomes.get("ctranslate2 float32") or outcomes.get("cell loop fp32") or outcomes.get("nmt fp32")
    if reference is None or not ours.rounds[0].result["hypotheses"]:
        return None
    pairs = list(zip(ours.rounds[0].result["hypotheses"], reference.rounds[0].result["hypotheses"], strict=True))
    return round(sum(one == two for one, two in pairs) / max(len(pairs), 1), 4)


def _median(values: list[float]) -> float:
    return statistics.median(values)
