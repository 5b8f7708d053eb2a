"""`nmt report`: one HTML page about runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nmt_cli.console import note
from nmt_cli.options import DeviceOption

if TYPE_CHECKING:
    from nmt.report.material import RunMaterial


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders of one corpus.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("report.html"),
    device: DeviceOption = "auto",
) -> None:
    """Write one self-contained HTML page: scores, curves, BLEU by length, translations, attention, data, provenance."""
    from nmt.device import set_threads
    from nmt.errors import ConfigError
    from nmt.files import atomic_write
    from nmt.report.material import gather
    from nmt.report.page import render
    from nmt_cli.models import open_translator
    from nmt_cli.testsets import choose_testsets
    from nmt_data.prepare import prepare

    set_threads()
    found: list[RunMaterial] = []
    corpora: set[str] = set()
    for run in runs:
        translator = open_translator(run, device, False, {})
        prepared = prepare(translator.recipe, say=note)
        data = translator.recipe.data
        corpora.add(f"{data.corpus} {data.source}-{data.target}")
        if len(corpora) > 1:
            raise ConfigError(f"runs of several corpora do not go on one page: {', '.join(sorted(corpora))}")
        note(f"translating with {run.name}")
        names = [name for name in prepared.testsets() if name != "valid"] or ["valid"]
        found.append(gather(run, prepared, translator, choose_testsets(translator.recipe, names)))
    atomic_write(output, render(found).encode())
    typer.echo(str(output))
