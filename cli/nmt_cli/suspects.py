"""`nmt data suspects`: the training pairs that a model has not learnt, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nmt.runtime.stages import stage
from nmt_cli.console import note, print_table, print_text
from nmt_cli.options import DeviceOption, JsonOption
from nmt_cli.prepare import shortened
from nmt_cli.text_files import writing

if TYPE_CHECKING:
    from nmt_data.suspects import Entry, Ledger


def suspects(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a bundle.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, help="Pairs to show.")] = 20,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Score only N pairs, evenly spread over the corpus; more than there are: all. "
            "Default: as many as take a few minutes.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            dir_okay=False,
            help="File for all scored pairs (TSV), the worst first.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
) -> None:
    """List the training pairs whose loss stays highest, and the filters that would drop them.

    The loss is per target token, by forced decoding with the earliest and the last checkpoint of the run; their mean decides.
    """
    from nmt.runtime.device import choose_device, set_threads
    from nmt.runtime.files import check_output
    from nmt_data.reasons import left_out
    from nmt_data.suspects import Ledger, Trained

    if output is not None:
        check_output(output)
    set_threads()
    place = choose_device(device)
    trained = Trained.open(run, say=note)
    ledger = Ledger.of(trained, place, sample)
    names = " and ".join(path.name for path in trained.models)
    note(f"scored {len(ledger.rows):,} of {len(trained.prepared.pairs):,} pairs by {names}")
    entries = list(ledger.entries(count))
    told = ledger.reasons(entries)
    for name in left_out():
        note(f"nmt: not asked: {name}")
    if as_json:
        print_text(json.dumps(_record(ledger, entries, told), indent=1, ensure_ascii=False))
    else:
        _print(ledger, entries, told)
    if output is not None:
        _write(output, ledger)


def _print(ledger: Ledger, entries: Sequence[Entry], told: Sequence[Sequence[str]]) -> None:
    """Prints a table of entries with the reasons of the filters."""
    several, corpora = len(ledger.corpora) > 1, ledger.corpora
    heads = ["line", "loss", *["before"] * (len(ledger.losses) > 1), "source", "target", "filters"]
    rows = [
        [
            f"{corpora[entry.part]}: {_line(entry)}" if several else _line(entry),
            *(f"{loss:.2f}" for loss in reversed(entry.losses)),
            shortened(entry.source),
            shortened(entry.target),
            ", ".join(reasons) or "-",
        ]
        for entry, reasons in zip(entries, told, strict=True)
    ]
    print_table("pairs whose loss stays highest, in nats per target token", heads, rows)
    named = sum(map(bool, told))
    print_text(f"a filter would drop {named} of these {len(entries)}; the others are for you to judge")


def _line(entry: Entry) -> str:
    return "" if entry.line is None else str(entry.line)


def _record(ledger: Ledger, entries: Sequence[Entry], told: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Returns the entries as JSON can hold them."""
    names, trained = [path.name for path in ledger.trained.models], ledger.trained
    return {
        "pairs": len(trained.prepared.pairs),
        "scored": len(ledger.rows),
        "models": names,
        "suspects": [
            {
                "corpus": ledger.corpora[entry.part],
                "line": entry.line,
                "losses": dict(zip(names, (round(loss, 4) for loss in entry.losses), strict=True)),
                "source": entry.source,
                "target": entry.target,
                "filters": list(reasons),
            }
            for entry, reasons in zip(entries, told, strict=True)
        ],
    }


def _write(path: Path, ledger: Ledger) -> None:
    """Writes all scored pairs, the worst first, a line each; the first line names the columns."""
    names = [path.name for path in ledger.trained.models]
    with writing(path, None) as sink, stage("writing", len(ledger.rows), "pairs") as here:
        sink.write("\t".join(["corpus", "line", "mean loss", *names, "source", "target"]).encode() + b"\n", 0)
        for entry in ledger.entries():
            losses = [f"{loss:.4f}" for loss in (sum(entry.losses) / len(entry.losses), *entry.losses)]
            cells = [ledger.corpora[entry.part], _line(entry), *losses, entry.source, entry.target]
            sink.write("\t".join(cells).encode() + b"\n", 1)
            here.done += 1
    note(f"all {len(ledger.rows):,} pairs are in {path}, the worst first")
