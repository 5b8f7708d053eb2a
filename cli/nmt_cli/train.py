"""`nmt train`: trains a recipe; prepares the corpus first if needed, and resumes by itself."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nmt_cli.console import PREPARE_ANEW, note, print_text, said_when_interrupted
from nmt_cli.options import DeviceOption, RecipeArgument, SetOption, duration
from nmt_cli.pulse import clock
from nmt_cli.serve import check_installed
from nmt_cli.testsets import say_normalisation, say_tokenization
from nmt_cli.training_display import TrainingDisplay
from nmt_cli.watching import watched

if TYPE_CHECKING:
    from nmt.config.recipe import Recipe
    from nmt.training.progress import Progress


def train(
    recipe: RecipeArgument,
    run: Annotated[
        Path | None, typer.Option("--run", file_okay=False, help="Run folder. Default: runs/NAME.", show_default=False)
    ] = None,
    overrides: SetOption = None,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget", parser=duration, metavar="TIME", help="Train for so long (90s, 15m, 2h), ending annealed."
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show the training on a page of this computer; its address is printed.")
    ] = False,
    track: Annotated[
        str | None, typer.Option("--track", help="Send the figures to trackio or wandb too.", show_default=False)
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Train a model. If it is stopped or killed, the same command continues it."""
    from nmt.config.reading import load_recipe
    from nmt.training.trackers import check_tracker

    settings = load_recipe(recipe, overrides or ())
    folder = run or Path("runs") / settings.name
    if watch:
        check_installed()
    if track is not None:
        check_tracker(track)
    if train_run(settings, folder, device, budget, watch, track):
        print_text(str(folder / "model"))


def train_run(
    settings: Recipe,
    folder: Path,
    device: str,
    budget: float | None = None,
    watch: bool = False,
    track: str | None = None,
) -> bool:
    """Prepares and trains to the end; returns whether this process is the first of those started by torchrun, if any."""
    from nmt.fast.kernels import why_missing
    from nmt.runtime.device import choose_device, set_threads
    from nmt.runtime.processes import joined
    from nmt.training.events import Event
    from nmt.training.trackers import trackers
    from nmt.training.trainer import Trainer
    from nmt_data.doctor.checks import first_checks
    from nmt_data.prepare import prepare

    place = choose_device(device)
    set_threads()
    for _, check in first_checks(settings, folder, place):
        check()
    if place.type == "cpu" and (reason := why_missing()):
        note(f"nmt: training is slower than it could be: {reason}")
    with joined(place) as world:
        if world.leads:
            with said_when_interrupted(PREPARE_ANEW):
                prepared = prepare(settings, say=note, thorough=True)
            world.wait()
        else:
            world.wait()
            prepared = prepare(settings)
        folder.mkdir(parents=True, exist_ok=True)
        if not world.leads:
            Trainer(settings, prepared, folder, place, budget=budget, world=world).run()
            return False
        _say_unused_text(settings)
        say_tokenization(prepared.testset("valid"))
        say_normalisation(prepared.testset("valid"), settings)
        _warn_of_leaks(prepared.report["found_in_train"])
        note(f"{settings.name} -> {folder}")
        with (
            watched(folder) if watch else nullcontext(),
            TrainingDisplay(regularisers(settings)) as display,
            trackers(settings, folder, track, note) as tracked,
        ):

            def report(event: Event) -> None:
                display.report(event)
                tracked(event)

            trainer = Trainer(settings, prepared, folder, place, report, budget, world)
            display.step = lambda: trainer.progress.step
            progress = trainer.run()
    _say_done(progress, settings)
    return True


def _say_done(progress: Progress, settings: Recipe) -> None:
    speed = progress.target_tokens / max(progress.training_seconds, 1e-9)
    tokens = f"{progress.target_tokens:,} target tokens in {clock(progress.seconds)} ({speed:,.0f} tok/s)"
    metric = settings.training.metric
    best = f"best validation BLEU {progress.best_bleu:.2f} at update {progress.best_step}"
    if metric != "bleu":
        best = f"best validation by {metric} at update {progress.best_step}, with BLEU {progress.best_bleu:.2f}"
    note(f"done: {progress.step} updates, {tokens}; {best}")


def _say_unused_text(settings: Recipe) -> None:
    if settings.data.mono and settings.training.objective == "translate":
        note("data.mono trains the tokenizer alone, as training.objective = 'translate'")


def _warn_of_leaks(leaks: list[dict[str, Any]]) -> None:
    for leak in leaks:
        if leak["pairs_normalised"] and leak["testset"] != "valid":
            note(
                f"warning: {leak['pairs_normalised']} of {leak['sentences']} pairs of {leak['testset']} stand in train"
            )


def regularisers(recipe: Recipe) -> list[str]:
    """Returns the names of settings that raise the loss in training, but not in validation."""
    model, training = recipe.model.model_dump(), recipe.training
    names = [("label smoothing", training.label_smoothing), ("R-Drop", training.r_drop)]
    names.append(("dropout", any(value for key, value in model.items() if key.endswith("dropout"))))
    return [name for name, value in names if value]
