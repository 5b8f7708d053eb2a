"""`nmt report`: one HTML page about runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nmt.config.paths import real_path
from nmt.errors import ConfigError
from nmt.runtime.stages import stage
from nmt_cli.console import note, print_text
from nmt_cli.opening import open_translator
from nmt_cli.options import DeviceOption
from nmt_cli.testsets import choose_testsets, names_apart

if TYPE_CHECKING:
    from nmt.corpus.prepared import Prepared
    from nmt.report.material import RunMaterial
    from nmt.translation.translator import Translator


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Run folders of one corpus, or the runs of a bootstrap.", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help="File to write.")] = Path(
        "report.html"
    ),
    device: DeviceOption = "auto",
) -> None:
    """Write one self-contained HTML page: scores, curves, BLEU by length, translations, attention, data, provenance."""
    from nmt.report.material import material_of
    from nmt.report.page import render
    from nmt.report.stages import TREE, render_stages
    from nmt.runtime.atomic import atomic_write
    from nmt.runtime.device import set_threads
    from nmt.runtime.files import check_output
    from nmt_data.prepare import prepare

    check_output(output)
    if len(runs) == 1 and (runs[0] / TREE).exists():
        atomic_write(output, render_stages(runs[0]).encode(errors="backslashreplace"))
        print_text(str(output))
        return
    _check_folders(runs)
    set_threads()
    translators = [open_translator(run, device, False, {}) for run in runs]
    _check_corpora(translators)
    corpora = [prepare(translator.recipe, say=note) for translator in translators]
    names = names_apart(runs, "/")
    testsets = _shared_testsets(dict(zip(names, corpora, strict=True)))
    found: list[RunMaterial] = []
    for run, name, translator, prepared in zip(runs, names, translators, corpora, strict=True):
        note(f"translating with {name}")
        with stage(name):
            found.append(material_of(run, name, prepared, translator, choose_testsets(translator.recipe, testsets)))
        for line in translator.report.summary():
            note(f"{name}: {line}")
    with stage("drawing"):
        atomic_write(output, render(found).encode(errors="backslashreplace"))
    print_text(str(output))


def _check_folders(runs: Sequence[Path]) -> None:
    """Refuses what is no run.

    Raises:
        ConfigError: a run is named twice, or a path is no run, such as a model without its run.
    """
    from nmt.storage.run_folder import RunFolder

    if len({real_path(run) for run in runs}) < len(runs):
        raise ConfigError("a run is named twice: name each once")
    if bare := next((run for run in runs if not RunFolder(run).log.exists()), None):
        raise ConfigError(
            f"{bare}: no log.jsonl; a report is made of run folders, or of one folder that nmt bootstrap filled"
        )


def _shared_testsets(corpora: Mapping[str, Prepared]) -> list[str]:
    """Returns the names of the test sets that all runs have; `valid` if they share no other.

    Raises:
        ConfigError: they hold other sentences in one run than in another.
    """
    (first, own), *others = corpora.items()
    shared = [name for name in own.testsets() if all(name in corpus.testsets() for _, corpus in others)]
    chosen = [name for name in shared if name != "valid"] or shared
    for name in chosen:
        one = own.testset(name)
        for run, corpus in others:
            other = corpus.testset(name)
            if (one.source, one.target) != (other.source, other.target):
                raise ConfigError(f"{name} of {first} and of {run} hold other sentences, so they do not go on one page")
    return chosen


def _check_corpora(translators: Sequence[Translator]) -> None:
    """Refuses runs that do not fit on one page, before anything is translated.

    Raises:
        ConfigError: the corpora differ.
    """
    data = [translator.recipe.data for translator in translators]
    corpora = {f"{item.corpus} {item.source}-{item.target}" for item in data}
    if len(corpora) > 1:
        raise ConfigError(f"runs of several corpora do not go on one page: {', '.join(sorted(corpora))}")
