"""`nmt bench`: speed on this machine, as ratios against baselines in the same run."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from nmt.corpus.lines import read_lines
from nmt.errors import DataError
from nmt_cli.console import note, print_table, print_text
from nmt_cli.options import DeviceOption, JsonOption, ModelArgument, RecipeArgument, SetOption

app = typer.Typer(no_args_is_help=True, help="Measure speed on this machine, as JSON or a table.")

ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Threads of each contender.")]
RoundsOption = Annotated[int, typer.Option("--rounds", min=1, help="Rounds that count, after one that does not.")]


@app.command("decode")
def decode(
    model: ModelArgument,
    text: Annotated[Path, typer.Option("--text", help="What is translated, one segment a line.", show_default=False)],
    beam: Annotated[int, typer.Option("--beam", min=1, help="Hypotheses per sentence.")] = 5,
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, help="Sentences per batch. Default: 32; on CUDA, as many as are worth while."),
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Times the text is repeated, for a longer round.")] = 1,
    rounds: RoundsOption = 5,
    threads: ThreadsOption = 1,
    shortlist: Annotated[
        Path | None,
        typer.Option(
            "--shortlist", help="Time our search among its tokens too; from `nmt shortlist`.", show_default=False
        ),
    ] = None,
    without_cache: Annotated[
        bool, typer.Option("--without-cache", help="Time decoding that runs the prefix again at each step too.")
    ] = False,
    as_json: JsonOption = False,
    device: DeviceOption = "cpu",
) -> None:
    """Time our search in each precision, against CTranslate2 (Transformers) or on a CPU a loop over cells (RNNs)."""
    from nmt.bench.decoding import DecodingWork, Variant, bench_decoding
    from nmt.runtime.device import choose_device
    from nmt.storage.bundle import load_model

    lines = read_lines(text)
    if not any(map(str.strip, lines)):
        raise DataError(f"{text}: there are no sentences to translate")
    loaded, place = load_model(model), choose_device(device)
    search = loaded.recipe.search.model_copy(update={"beam": beam, "stopping": "count"})
    size = batch or (32 if place.type == "cpu" else None)
    work = DecodingWork(model, lines * repeat, search, size, threads, str(place), shortlist)
    precisions = ("fp32", "bf16", "int8") if place.type == "cpu" else ("fp32", "bf16")
    variants = [Variant("nmt", precision) for precision in precisions]
    if shortlist:
        variants += [Variant("shortlist", precision) for precision in precisions]
    on_cpu, shape = place.type == "cpu", loaded.recipe.model
    if not on_cpu:
        variants += [Variant("text", "bf16"), Variant("loop", "bf16")]
    if shape.kind == "transformer" and _has_ctranslate2():
        variants += [Variant("ctranslate2", name) for name in (("float32", "int8") if on_cpu else ("float16",))]
    if on_cpu and shape.kind == "rnn" and shape.attends:
        variants.append(Variant("cell loop", "fp32"))
    if without_cache:
        variants.append(Variant("without cache", "fp32"))
    rows = bench_decoding(work, variants, rounds, note)
    if as_json:
        for row in rows:
            print_text(json.dumps(row))
        return
    print_table(f"{rows[0]['family']}, beam {beam}, batch {size or 'automatic'}, {rows[0]['device']}", *_table(rows))


@app.command("train")
def train(
    recipe: RecipeArgument,
    overrides: SetOption = None,
    updates: Annotated[int, typer.Option("--updates", min=1, help="Updates in a round.")] = 10,
    rounds: RoundsOption = 5,
    threads: ThreadsOption = 1,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", help="File for torch's profile of some updates, by precision.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
    device: DeviceOption = "cpu",
) -> None:
    """Time our update in fp32 and bf16 against torch's own modules (on CUDA also compiled), on the same batches."""
    from nmt.bench.profiles import profile_training
    from nmt.bench.training import TrainingWork, bench_training, contenders
    from nmt.config.reading import load_recipe
    from nmt.runtime.atomic import atomic_write
    from nmt.runtime.device import choose_device
    from nmt.runtime.files import check_output
    from nmt_data.prepare import prepare

    if profile:
        check_output(profile)
    settings = load_recipe(recipe, overrides or ())
    place = choose_device(device)
    work = TrainingWork(settings, prepare(settings, say=note), str(place), threads, updates)
    names = contenders(settings, place)
    if "nmt bf16" not in names:
        note("bf16 is left out: this CPU does not multiply in it")
    rows = bench_training(work, names, rounds, note)
    if profile:
        atomic_write(profile, profile_training(work, [name for name in names if name.startswith("nmt")]).encode())
    if as_json:
        for row in rows:
            print_text(json.dumps(row))
        return
    columns = {
        "tokens_per_second": "tokens/s",
        "tokens_per_cpu_second": "tokens/cpu-s",
        "ratio": "x baseline",
        "ratio_by_the_clock": "by the clock",
        "ratio_to_compiled": "x compiled",
        "utilisation": "utilisation",
        "peak_memory_mb": "MB",
        "loss": "loss",
        "foreign_load": "foreign load",
    }
    first = rows[0]
    title = f"{first['family']}, {settings.training.batch_tokens} tokens a batch, {first['device']}"
    print_table(title, *_cells(rows, columns))


def _table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    columns = {
        "sentences_per_second": "sentences/s",
        "tokens_per_second": "tokens/s",
        "tokens_per_cpu_second": "tokens/cpu-s",
        "ratio_to_ctranslate2_float32": "x CT2 float32",
        "ratio_to_ctranslate2_float16": "x CT2 float16",
        "ratio_to_ctranslate2_int8": "x CT2 int8",
        "ratio_to_cell_loop": "x cell loop",
        "identical_share": "identical",
        "latency_p50_ms": "p50 ms",
        "latency_p95_ms": "p95 ms",
        "peak_memory_mb": "MB",
        "foreign_load": "foreign load",
    }
    return _cells(rows, columns)


def _cells(rows: list[dict[str, Any]], columns: dict[str, str]) -> tuple[list[str], list[list[str]]]:
    shown = [key for key in columns if any(row[key] is not None for row in rows)]
    cells = [
        [f"{row['engine']} {row['precision']}", *("" if row[key] is None else str(row[key]) for key in shown)]
        for row in rows
    ]
    return ["", *(columns[key] for key in shown)], cells


def _has_ctranslate2() -> bool:
    return find_spec("ctranslate2") is not None
