"""`nmt evaluate`: translates test sets and scores them, or scores given translations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nmt.corpus.lines import read_lines
from nmt.errors import ConfigError, DataError
from nmt_cli.console import note, print_table, print_text
from nmt_cli.opening import open_translator
from nmt_cli.options import BatchSizeOption, BeamOption, DeviceOption, JsonOption, LatestOption, ModelArgument, ToOption
from nmt_cli.testsets import choose_testsets, in_case

if TYPE_CHECKING:
    from nmt.scoring.evaluation import Evaluation
    from nmt.scoring.metrics import Bucket, Score

TestsetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--testset",
        "-t",
        metavar="NAME",
        help="A test set of the model's corpus, SOURCE:REFERENCE files, or a name in sacreBLEU's cache. Repeatable. "
        "Default: all of the corpus.",
    ),
]
LowercaseOption = Annotated[bool, typer.Option("--lowercase", help="Show lower-cased BLEU too.")]
TokenizeOption = Annotated[
    str | None,
    typer.Option(
        "--tokenize",
        help="How BLEU splits words: one of sacreBLEU's ways, none for tokenised text. Default: as the corpus's card says, "
        "else by the target language (zh, ja-mecab, ko-mecab, or 13a).",
        show_default=False,
    ),
]
DifficultyOption = Annotated[
    bool,
    typer.Option(
        "--difficulty",
        help="Show BLEU by the rarest source word too, and by new source trigrams.",
    ),
]
MetricOption = Annotated[
    list[str] | None,
    typer.Option("--metric", help="bleu, chrf2 or ter. Repeatable. Default: all.", show_default=False),
]
CometOption = Annotated[
    str | None,
    typer.Option(
        "--comet",
        metavar="COMMAND",
        help="COMET too, by the comet-score of an environment that has it.",
        show_default=False,
    ),
]


def evaluate(
    model: ModelArgument,
    testset: TestsetOption = None,
    hypothesis: Annotated[
        Path | None,
        typer.Option("--hypothesis", help="Score this file instead of translating (one test set).", show_default=False),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for the translations and result.json.", show_default=False),
    ] = None,
    lowercase: LowercaseOption = False,
    difficulty: DifficultyOption = False,
    tokenize: TokenizeOption = None,
    metric: MetricOption = None,
    comet: CometOption = None,
    beam: BeamOption = None,
    batch_size: BatchSizeOption = None,
    as_json: JsonOption = False,
    to: ToOption = None,
    latest: LatestOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Print BLEU, chrF2 and TER with signatures and 95 % bootstrap intervals."""
    from nmt.runtime.device import set_threads
    from nmt.runtime.files import check_output
    from nmt.scoring.comet import check_command
    from nmt.scoring.metrics import EVERY_METRIC, parse_metrics
    from nmt.translation.evaluation import evaluate as evaluate_system
    from nmt.translation.result import Options
    from nmt_data.prepare import prepare

    if hypothesis and (beam or batch_size):
        raise ConfigError(
            f"--{'beam' if beam else 'batch-size'} is for translating; --hypothesis is translated already"
        )
    if save:
        check_output(save, folder=True)
    if comet:
        check_command(comet)
    set_threads()
    translator = open_translator(
        model, device, latest, {"beam": beam}, batch_size=batch_size, options=Options(target_language=to)
    )
    testsets = choose_testsets(translator.recipe, testset or [], tokenize, to)
    if hypothesis and len(testsets) != 1:
        raise DataError(f"--hypothesis is scored against one test set; name it with --testset ({len(testsets)} found)")
    system = in_case(read_lines(hypothesis), translator.recipe, to) if hypothesis else translator
    metrics = sorted(parse_metrics(metric or EVERY_METRIC), key=EVERY_METRIC.index)
    training = prepare(translator.recipe).pairs_source() if difficulty else ()
    results = [evaluate_system(system, item, lowercase, training, metrics, translator.recipe) for item in testsets]
    for line in translator.report.summary():
        note(f"nmt: {line}")
    try:
        if comet:
            _add_comet(comet, results)
    finally:  # what was translated is kept and shown even if COMET fails
        _keep(save, translator.card, results, as_json)


def _add_comet(command: str, results: Sequence[Evaluation]) -> None:
    from nmt.scoring.comet import comet

    for item in results:
        item.scores.append(comet(command, item.testset.source, item.hypotheses, item.testset.target))


def _keep(folder: Path | None, card: Mapping[str, Any], results: Sequence[Evaluation], as_json: bool) -> None:
    try:
        if folder:
            save_results(folder, card, results)
    finally:  # show results even if they cannot be saved
        _show(results, as_json)


def _show(results: Sequence[Evaluation], as_json: bool) -> None:
    if as_json:
        print_text(json.dumps([result.as_dict() for result in results], indent=1))
    else:
        print_scores(results)


def save_results(folder: Path, card: Mapping[str, Any], results: Sequence[Evaluation]) -> None:
    """Writes the translations of each test set, and `result.json` with scores and the model's provenance."""
    from nmt.runtime.atomic import atomic_write, write_json

    for result in results:
        text = "".join(f"{line}\n" for line in result.hypotheses)
        atomic_write(folder / f"{result.testset.name}.hypothesis", text.encode())
    content = {**card, "evaluations": [result.as_dict() for result in results]}
    write_json(folder / "result.json", content)


def print_scores(results: Sequence[Evaluation]) -> None:
    """Prints a table of scores per test set, with signatures, and BLEU by source length."""
    for result in results:
        rows = [[score.metric, f"{score.value:.2f}", _interval(score), score.signature] for score in result.scores]
        words = f"{result.length_ratio:.3f} words for each of the reference"
        time = f", translated in {result.seconds:.1f} s" if result.seconds else ""
        title = f"{result.testset.name}: {len(result.hypotheses)} sentences, {words}{time}"
        print_table(title, ["metric", "score", "95 % interval", "signature"], rows)
        print_buckets("by source length in words", "words", result.buckets)
        for name, buckets in result.by_difficulty.items():
            print_buckets(*_DIFFICULTIES[name], buckets)


def _interval(score: Score) -> str:
    """Formats the 95 % interval; blank for COMET, which has none."""
    return "" if score.metric == "comet" else f"[{score.low:.2f}, {score.high:.2f}]"


_DIFFICULTIES = {
    "rarity": ("by rarest source word", "times in train"),
    "novelty": ("by new source trigrams", "percent new"),
}


def print_buckets(title: str, unit: str, buckets: Sequence[Bucket]) -> None:
    """Prints BLEU, one row per bucket."""
    rows = [[bucket_name(bucket), str(bucket.sentences), str(bucket.score)[5:]] for bucket in buckets]
    print_table(title, [unit, "sentences", "BLEU"], rows)


def bucket_name(bucket: Bucket) -> str:
    """Formats the bounds of a bucket: `6-10`, `7`, or `61+` for the last."""
    if bucket.high >= 10_000:
        return f"{bucket.low}+"
    return f"{bucket.low}-{bucket.high}" if bucket.high > bucket.low else str(bucket.low)
