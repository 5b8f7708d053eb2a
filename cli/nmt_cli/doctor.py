"""`nmt doctor`: whether this machine, a recipe and its corpus are fit to train."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nmt_cli.console import PREPARE_ANEW, note, print_text, said_when_interrupted
from nmt_cli.options import DeviceOption, JsonOption, SetOption

if TYPE_CHECKING:
    from nmt_data.doctor.finding import Finding


def doctor(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe file, or a folder that holds recipe.toml. Without it only the machine is looked at.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", file_okay=False, help="Run folder. Default: runs/NAME.", show_default=False)
    ] = None,
    overrides: SetOption = None,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="Make ten updates, for the speed and the memory.")
    ] = True,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Say whether this machine, a recipe and its corpus are fit to train; the exit code is 1 if a training would fail."""
    from nmt.config.reading import load_recipe
    from nmt_data.doctor.examine import examine
    from nmt_data.doctor.finding import fails

    settings = load_recipe(recipe, overrides or ()) if recipe else None
    with said_when_interrupted(PREPARE_ANEW):
        findings = list(_shown(examine(settings, run, device, probe, note), quiet=as_json))
    if as_json:
        found = {"fit": not fails(findings), "findings": [finding.as_dict() for finding in findings]}
        print_text(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        print_text(_summary(findings, "this machine and this recipe are" if recipe else "this machine is"))
    if fails(findings):
        raise typer.Exit(1)


def _shown(findings: Iterable[Finding], quiet: bool) -> Iterable[Finding]:
    """Passes findings on, and prints each at once unless all are printed at the end."""
    for finding in findings:
        if not quiet:
            print_text(f"{finding.level:7}  {finding.topic:12}  {finding.line}")
        yield finding


def _summary(findings: Sequence[Finding], what: str) -> str:
    problems, advised = (sum(finding.level == level for finding in findings) for level in ("problem", "advice"))
    told = f"{advised} of {len(findings)} findings {'is' if advised == 1 else 'are'} advice"
    if problems:
        return f"not fit to train: {problems} problem{'s' * (problems > 1)}, {told}"
    return f"{what} fit to train: no problem, {told}"
