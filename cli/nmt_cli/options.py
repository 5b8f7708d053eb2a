"""Options that several verbs share."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

import typer

RecipeArgument = Annotated[
    Path,
    typer.Argument(metavar="RECIPE", help="A recipe file, or a folder that holds recipe.toml.", show_default=False),
]
ModelArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="A bundle, a run folder (its best checkpoint) or one checkpoint.", show_default=False
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key of the recipe, e.g. --set model.layers=2. Repeatable."
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:n.")]
LatestOption = Annotated[
    bool, typer.Option("--latest", help="Of a run folder, take the latest checkpoint instead of the best.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Work on a Ray cluster, whose machines see the same models: HOST:PORT of its head, or auto.",
        show_default=False,
    ),
]
BeamOption = Annotated[
    int | None,
    typer.Option(
        "--beam", min=1, help="Hypotheses per sentence; 1 is greedy. Default: the recipe's.", show_default=False
    ),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, help="Sentences per batch instead of a budget of tokens.", show_default=False),
]
ToOption = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="LANGUAGE",
        help="Of a model with several target languages, the one wanted. Default: the first of its recipe.",
        show_default=False,
    ),
]


def finite(number: float | None) -> float | None:
    """Refuses `nan` and `inf`, which pass the bounds of an option."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter("must be a number")
    return number


def duration(text: str) -> float:
    """Parses `90s`, `15m`, `2h` or a plain number of seconds."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smh]?)", text.strip())
    if not match or float(match[1]) == 0:
        raise typer.BadParameter(f"{text!r} is not a time; write 90s, 15m or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
