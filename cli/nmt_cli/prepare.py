"""`nmt prepare`: from raw text to an encoded corpus, with a report of dropped pairs and reasons."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nmt.corpus.lines import beginning, visible_line
from nmt_cli.console import PREPARE_ANEW, note, print_table, print_text, said_when_interrupted
from nmt_cli.options import ClusterOption, JsonOption, RecipeArgument, SetOption, finite

if TYPE_CHECKING:
    from nmt.corpus.prepared import Prepared


def prepare(
    recipe: RecipeArgument,
    overrides: SetOption = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Processes to work in. Default: one a core, at most three for each GB of memory.",
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            min=0.5,
            max=1_000_000,
            callback=finite,
            metavar="GB",
            help="Memory to use, above what Python and its libraries take. Default: 2.",
            show_default=False,
        ),
    ] = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read, clean, split, audit, tokenise and encode the corpus of a recipe.

    The result depends neither on the processes nor on the memory, nor on the cluster.
    """
    from nmt.config.reading import load_recipe
    from nmt_data.means import Means
    from nmt_data.prepare import prepare as prepare_corpus

    settings = load_recipe(recipe, overrides or ())
    means = Means.of(processes, None if memory is None else round(memory * 1e9), note, cluster)
    with said_when_interrupted(PREPARE_ANEW):
        prepared = prepare_corpus(settings, say=note, means=means)
    if as_json:
        print_text(json.dumps({**prepared.report, "folder": str(prepared.folder)}, indent=1, ensure_ascii=False))
        return
    print_report(prepared)


def print_report(prepared: Prepared) -> None:
    """Prints the data report as tables."""
    from nmt_data.texts import told_left_out

    report: dict[str, Any] = prepared.report
    kind = "synthetic corpus" if report["synthetic"] else "corpus"
    print_text(f"{kind} {report['corpus']} {report['source']}-{report['target']} ({report['licence']})")
    train = report["train"]
    rows = [["pairs read", f"{train['read']:,}"]]
    rows += [[f"dropped: {reason}", f"{count:,}"] for reason, count in train["dropped"].items() if count]
    rows += [["held out", f"{train['held_out']:,}"]] if train["held_out"] else []
    rows += [[f"mended: {reason}", f"{count:,}"] for reason, count in train["mended"].items() if count]
    print_table("train", ["", ""], [*rows, ["pairs kept", f"{train['kept']:,}"]])
    _print_examples(train)
    if mono := report.get("mono"):
        print_table("text without translations", ["", ""], _mono_rows(mono))
        _print_examples(mono)
    for name, counts in report.get("left_out", {}).items():
        print_text(f"{name}: {told_left_out(counts)}")
    columns = ["vocabulary", "tokens", "mean_length", "longest", "unknown"]
    print_table(
        "tokens",
        ["side", *columns],
        [[side, *(f"{row[key]:,}" for key in columns)] for side, row in report["tokens"].items()],
    )
    found = [
        [
            leak["testset"],
            f"{leak['sentences']:,}",
            *(f"{leak[f'{what}_exact']:,} / {leak[f'{what}_normalised']:,}" for what in ("source", "target", "pairs")),
        ]
        for leak in report["found_in_train"]
    ]
    dropped = " (dropped from train)" if report["leaks_dropped"] else ""
    print_table(
        f"found in train, exact / normalised{dropped}", ["test set", "sentences", "source", "target", "both"], found
    )
    print_text(str(prepared.folder))


def _print_examples(counts: dict[str, Any]) -> None:
    """Prints some of the dropped pairs, a line each."""
    examples: dict[str, list[list[str]]] = counts.get("examples", {})
    for reason, pairs in examples.items():
        for source, target in pairs:
            both = (
                shortened(source) if source == target and "held_out" not in counts else shortened_pair(source, target)
            )
            print_text(f"dropped: {reason}: {both}")


def shortened_pair(source: str, target: str) -> str:
    """Returns both sides on one line."""
    return f"{shortened(source)} | {shortened(target)}"


def shortened(text: str) -> str:
    """Returns the beginning of a text that is too long for a line."""
    return beginning(visible_line(text), 50)


def _mono_rows(mono: dict[str, Any]) -> list[list[str]]:
    """Returns the counts of lines read, dropped and kept, by file."""
    rows = [["lines read", f"{mono['read']:,}"]]
    rows += [[f"dropped: {reason}", f"{count:,}"] for reason, count in mono["dropped"].items() if count]
    rows += [[f"mended: {reason}", f"{count:,}"] for reason, count in mono["mended"].items() if count]
    parts = [[f"{part['language']}: {', '.join(part['files'])}", f"{part['lines']:,}"] for part in mono["parts"]]
    return [*rows, ["lines kept", f"{mono['kept']:,}"], *parts]
