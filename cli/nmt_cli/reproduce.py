"""`nmt reproduce`: runs a recipe from raw text to a score, and compares it with the expected one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nmt.errors import ConfigError
from nmt_cli.console import note, print_table
from nmt_cli.evaluate import print_scores, save_results
from nmt_cli.opening import open_translator
from nmt_cli.options import DeviceOption
from nmt_cli.testsets import choose_testsets
from nmt_cli.train import train_run

if TYPE_CHECKING:
    from nmt.experiments.expectations import Verdict


def reproduce(
    name: Annotated[
        Path,
        typer.Argument(
            metavar="NAME", help="A recipe of this checkout, or a folder that holds one.", show_default=False
        ),
    ],
    seed: Annotated[int | None, typer.Option("--seed", help="Instead of the recipe's.", show_default=False)] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if a score is below what is expected.")] = False,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run", file_okay=False, help="Run folder. Default: runs/NAME, or runs/NAME-seedN.", show_default=False
        ),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Prepare, train, translate and score a recipe, and compare with its `expected.json`."""
    from nmt.config.reading import load_recipe
    from nmt.experiments.expectations import judge, load_expectations
    from nmt.storage.run_folder import RunFolder
    from nmt.translation.evaluation import evaluate

    place = name if name.exists() else Path("recipes") / name
    settings = load_recipe(place, [] if seed is None else [f"seed={seed}"])
    expectations = load_expectations(place)
    if check and not expectations:
        raise ConfigError(
            f"{place}: nothing is expected of this recipe, so there is nothing to check; leave --check out"
        )
    folder = run or Path("runs") / (settings.name if seed is None else f"{settings.name}-seed{seed}")
    testsets = choose_testsets(settings, [])
    if aside := RunFolder(folder).set_aside(settings):
        note(f"nmt: {aside}")
    if not train_run(settings, folder, device):
        return
    translator = open_translator(folder, device, False, {})
    evaluations = [evaluate(translator, testset) for testset in testsets]
    for line in translator.report.summary():
        note(f"nmt: {line}")
    try:
        save_results(folder / "results", translator.card, evaluations)
    finally:  # show results even if they cannot be saved
        print_scores(evaluations)
    verdicts = judge(expectations, evaluations)
    _print_verdicts(verdicts)
    note(f"translations and figures: {folder / 'results'}")
    if check and not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


def _print_verdicts(verdicts: list[Verdict]) -> None:
    rows = [
        [
            verdict.expectation.testset,
            f"{verdict.score:.2f}",
            f"{verdict.expectation.mean:.2f} - {verdict.expectation.band:.2f}",
            "met" if verdict.passed else "missed",
            verdict.expectation.origin,
        ]
        for verdict in verdicts
    ]
    if rows:
        print_table("against what is expected", ["test set", "score", "expected", "", "origin"], rows)
