"""`nmt average`: the mean of a run's last checkpoints as a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nmt.errors import CheckpointError, ConfigError
from nmt_cli.console import note, print_text

_USUAL = 5  # checkpoints


def average(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the model; must not exist.", show_default=False)
    ],
    last: Annotated[
        int | None,
        typer.Option(
            "--last",
            min=1,
            show_default=False,
            help="How many of the newest checkpoints. Default: five, or as many as training.keep keeps.",
        ),
    ] = None,
) -> None:
    """Average the weights of a run's last checkpoints into one model."""
    from nmt.corpus.tokenizer import Tokenizers
    from nmt.runtime.files import check_output
    from nmt.storage.bundle import check_vocabulary, nearest_run, read_recipe, write_bundle
    from nmt.storage.checkpoint import checkpoints
    from nmt.training.averaging import card_of_mean, mean_of_checkpoints

    if output.exists():
        raise ConfigError(f"{output} is there already; name a new folder")
    check_output(output, folder=True)
    found = checkpoints(run / "checkpoints")
    if not found:
        raise CheckpointError(
            f"{run}: {'holds no checkpoints' if run.is_dir() else 'no such folder'}{nearest_run(run)}"
        )
    recipe, tokenizers = read_recipe(run), Tokenizers.load(run)
    last = last or min(_USUAL, recipe.training.keep, len(found))  # an older one is the best, which is kept too
    if len(found) < last:
        raise CheckpointError(f"{run} has {len(found)} checkpoints, --last asks for {last}; see training.keep")
    chosen = found[-last:]
    for path in chosen:
        check_vocabulary(path, tokenizers)
    mean = mean_of_checkpoints(chosen)
    names = [path.name for path in chosen]
    card = {"name": recipe.name, "seed": recipe.seed, **card_of_mean(run, chosen[-1])}
    write_bundle(output, mean, names, recipe, tokenizers, card)
    note(f"mean of {len(names)} checkpoints, {names[0]} to {names[-1]}")
    print_text(str(output))
