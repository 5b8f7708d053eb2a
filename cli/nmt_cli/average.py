"""`nmt average`: the mean of a run's last checkpoints, as a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nmt_cli.console import note, print_text


def average(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the model; must not exist.", show_default=False)
    ],
    last: Annotated[int, typer.Option("--last", min=1, help="How many of the newest checkpoints.")] = 5,
) -> None:
    """Average the weights of a run's last checkpoints into one model."""
    from nmt.averaging import mean_of_checkpoints
    from nmt.checkpoint import checkpoints, read_recipe, verify, write_bundle
    from nmt.errors import CheckpointError, ConfigError
    from nmt.prepared import Tokenizers

    if output.exists():
        raise ConfigError(f"{output} is there already; name a new folder")
    found = checkpoints(run / "checkpoints")
    if len(found) < last:
        raise CheckpointError(f"{run} has {len(found)} checkpoints, --last asks for {last}; see training.keep")
    chosen = found[-last:]
    for path in chosen:
        verify(path)
    recipe, tokenizers = read_recipe(run), Tokenizers.load(run)
    names = [path.name for path in chosen]
    write_bundle(output, mean_of_checkpoints(chosen), names, recipe, tokenizers, {"name": recipe.name})
    note(f"mean of {names[0]} to {names[-1]}")
    print_text(str(output))
