"""`nmt compare`: several models on the same test sets, in one table, side by side and as a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nmt_cli.console import note, print_table
from nmt_cli.evaluate import LowercaseOption, TestsetOption, TokenizeOption
from nmt_cli.options import BeamOption, DeviceOption

if TYPE_CHECKING:
    from nmt.evaluation import Evaluation
    from nmt.metrics import Bucket
    from nmt.prepared import TestSet
    from nmt.translator import Translator

_EXAMPLES = 4


def compare(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="Bundles or run folders of one corpus.", show_default=False)
    ],
    testset: TestsetOption = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw BLEU against source length (last test set) into this file.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write all figures and translations as JSON.")] = None,
    lowercase: LowercaseOption = False,
    tokenize: TokenizeOption = "13a",
    beam: BeamOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Compare models: parameters, speed, scores with intervals and signatures, and translations side by side."""
    from nmt.device import set_threads
    from nmt.evaluation import evaluate
    from nmt.metrics import parse_tokenization
    from nmt_cli.models import open_translator
    from nmt_cli.testsets import choose_testsets

    set_threads()
    scheme = parse_tokenization(tokenize)
    translators = {path.name: open_translator(path, device, False, {"beam": beam}) for path in models}
    testsets = choose_testsets(next(iter(translators.values())).recipe, testset or [])
    results: dict[str, list[Evaluation]] = {}
    for name, translator in translators.items():
        note(f"translating with {name}")
        results[name] = [evaluate(translator, item, scheme, lowercase) for item in testsets]
        for line in translator.report.summary():
            note(f"{name}: {line}")
    labels = _labels(list(translators))
    _print_systems({labels[name]: translator for name, translator in translators.items()})
    for index, item in enumerate(testsets):
        _print_testset(item, {labels[name]: found[index] for name, found in results.items()})
    if plot:
        any_translator = next(iter(translators.values()))
        title = f"{_corpus(any_translator)}, {testsets[-1].name}: BLEU by source length"
        buckets = {labels[name]: found[-1].buckets for name, found in results.items()}
        _plot(plot, title, buckets, any_translator.card.get("longest_source_words"))
        note(f"plot: {plot}")
    if save:
        save.write_text(
            json.dumps(_as_json(translators, results), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        note(f"figures: {save}")


def _labels(names: Sequence[str]) -> dict[str, str]:
    """Names without the words that all of them begin with."""
    parts = [name.split("-") for name in names]
    shared = 0
    while (
        len(names) > 1
        and all(len(words) > shared + 1 for words in parts)
        and len({words[shared] for words in parts}) == 1
    ):
        shared += 1
    return {name: "-".join(words[shared:]) for name, words in zip(names, parts, strict=True)}


def _print_systems(translators: Mapping[str, Translator]) -> None:
    rows: list[list[str]] = []
    for name, translator in translators.items():
        card = translator.card
        training = [f"{card[key]:,.0f}" if key in card else "-" for key in ("updates", "seconds", "tokens_per_second")]
        rows.append([name, f"{translator.parameter_count:,}", *training])
    heads = ["system", "parameters", "updates", "seconds", "train tok/s"]
    print_table(_corpus(next(iter(translators.values()))), heads, rows)


def _corpus(translator: Translator) -> str:
    """What the models were trained on; a synthetic corpus is called one."""
    data = translator.recipe.data
    return f"{data.corpus} {data.source}-{data.target}{' (synthetic)' if translator.card.get('synthetic') else ''}"


def _print_testset(testset: TestSet, results: Mapping[str, Evaluation]) -> None:
    first = next(iter(results.values()))
    heads = [
        "BLEU lower-cased" if "lc" in score.signature and score.metric == "bleu" else _NAMES[score.metric]
        for score in first.scores
    ]
    rows = [
        [name, *(f"{score.value:.1f} [{score.low:.1f}, {score.high:.1f}]" for score in result.scores)]
        for name, result in results.items()
    ]
    print_table(
        f"{testset.name}: {len(testset.source):,} sentences, 95 % bootstrap intervals", ["system", *heads], rows
    )
    for head, score in zip(heads, first.scores, strict=True):
        typer.echo(f"  {head}: {score.signature}")
    typer.echo()
    _print_examples(testset, results)


_NAMES = {"bleu": "BLEU", "chrf2": "chrF2", "ter": "TER"}


def _print_examples(testset: TestSet, results: Mapping[str, Evaluation]) -> None:
    """A few sentences side by side, from short to long."""
    order = sorted(range(len(testset.source)), key=lambda row: (len(testset.source[row].split()), row))
    width = max(len("reference"), *(len(name) for name in results))
    for index in range(_EXAMPLES):
        row = order[(2 * index + 1) * len(order) // (2 * _EXAMPLES)]
        lines = {"source": testset.source[row], "reference": testset.target[row]}
        lines |= {name: result.hypotheses[row] for name, result in results.items()}
        for name, line in lines.items():
            typer.echo(f"  {name:<{width}}  {line}")
        typer.echo()


def _plot(path: Path, title: str, systems: Mapping[str, Sequence[Bucket]], trained: int | None) -> None:
    from nmt.report.length_plot import plot_bleu_by_length

    plot_bleu_by_length(path, title, systems, trained)


def _as_json(translators: Mapping[str, Translator], results: Mapping[str, Sequence[Evaluation]]) -> dict[str, Any]:
    return {
        name: {
            "card": translators[name].card,
            "evaluations": [result.as_dict() for result in found],
            "translations": {result.testset.name: result.hypotheses for result in found},
        }
        for name, found in results.items()
    }
