"""`nmt bootstrap`: models translate text that later models are trained on, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from nmt.config.paths import PACKED, real_path
from nmt.errors import ConfigError
from nmt_cli.bootstrap_crew import Crew
from nmt_cli.bootstrap_tree import costs, print_tree
from nmt_cli.console import note
from nmt_cli.options import DeviceOption, SetOption

if TYPE_CHECKING:
    from nmt.experiments.bootstrap import Plan

_MADE = "# Made by `nmt bootstrap RECIPE --mono`, and written anew by each such command: copy it to change it.\n"
_Mono = Annotated[
    list[Path] | None,
    typer.Option(
        "--mono",
        metavar="FILE",
        help="Make a plan for a recipe from this text in its target language, and from round 2 on also one in its source "
        "language. The name ends in the language, plain or compressed (captions.de.gz). Repeatable.",
        show_default=False,
    ),
]
_Rounds = Annotated[
    int | None,
    typer.Option(min=1, max=99, help="With --mono: forward models to train. Default: 1.", show_default=False),
]
_How = Annotated[
    str | None,
    typer.Option(help="With --mono: beam, greedy, sampling or top-k. Default: beam.", show_default=False),
]
_Tag = Annotated[
    str | None,
    typer.Option(
        help="With --mono: first token of translated sources; empty for none. Default: <bt>.", show_default=False
    ),
]
_Runs = Annotated[
    Path | None,
    typer.Option(
        "--runs",
        file_okay=False,
        help="Folder for the stages. Default: runs/NAME, with --mono runs/NAME-bootstrap.",
        show_default=False,
    ),
]
_Only = Annotated[
    list[str] | None,
    typer.Option(
        "--stage", metavar="NAME", help="Only this stage and what it needs; may be given again.", show_default=False
    ),
]


def bootstrap(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="Holds bootstrap.toml and its recipes. With --mono: a recipe.", show_default=False
        ),
    ],
    mono: _Mono = None,
    rounds: _Rounds = None,
    how: _How = None,
    tag: _Tag = None,
    runs: _Runs = None,
    only: _Only = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is done and what is to do, and stop.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that translate. Default: one a core, or one on a GPU.", show_default=False),
    ] = None,
    overrides: SetOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Train models on text that other models have translated: back-translation, distillation, in stages that resume."""
    from nmt.experiments.bootstrap import PLAN, parse_plan, plan_to_toml
    from nmt.runtime.atomic import atomic_write, clear_litter
    from nmt.runtime.device import choose_device
    from nmt.runtime.files import check_output
    from nmt.runtime.owners import claim
    from nmt_data.bootstrap.checks import check
    from nmt_data.bootstrap.site import Site
    from nmt_data.bootstrap.survey import survey, tree_of, write_tree
    from nmt_data.bootstrap.work import make

    place = runs or Path("runs") / (f"{_name(folder)}-bootstrap" if mono else real_path(folder).name)
    made = None
    if mono:
        made = _made(folder, mono, rounds or 1, how or "beam", "<bt>" if tag is None else tag, overrides or ())
        _refuse_a_plan_of_somebody(place / PLAN)
        site = Site(parse_plan(made, "--mono"), place, place)
    else:
        _refuse_options_of_mono({"--rounds": rounds, "--how": how, "--tag": tag})
        site = Site(_plan(folder), folder, place, overrides or ())
    stages = site.plan.with_needs(only or ())
    names = {stage.name for stage in stages}
    choose_device(device)
    check(site, note)
    check_output(place, folder=True)
    found = survey(site)
    for line in costs([row for row in found if row.name in names]):
        note(f"nmt: {line}")
    if not dry_run:
        place.mkdir(parents=True, exist_ok=True)
        with claim(place / ".lock", f"{place} is being worked on"):
            clear_litter(place)
            if made:
                atomic_write(place / PLAN, (_MADE + plan_to_toml(made)).encode())
            write_tree(site, found)
            make(site, stages, Crew(device, workers), note)
            write_tree(site, found := survey(site))
    print_tree(tree_of(site, [row for row in found if row.name in names]))


def _plan(folder: Path) -> Plan:
    """Reads the plan of a folder.

    Raises:
        ConfigError: there is none, or it is wrong.
    """
    from nmt.experiments.bootstrap import PLAN, load_plan

    if not (folder / PLAN).exists():
        raise ConfigError(f"{folder}: holds no {PLAN}; to make a plan for a recipe, give its text by --mono FILE")
    return load_plan(folder)


def _made(
    recipe: Path, mono: Sequence[Path], rounds: int, how: str, tag: str, overrides: Sequence[str]
) -> dict[str, Any]:
    """Makes the plan of a recipe and its texts, with absolute paths.

    Raises:
        ConfigError: the recipe or an option is wrong, or a text is missing or in another language.
    """
    from nmt.config.reading import load_recipe
    from nmt.experiments.bootstrap import How, plan_in_rounds

    data = load_recipe(recipe, overrides).data
    if how not in get_args(How):
        raise ConfigError(f"--how must be one of {', '.join(get_args(How))}, got {how}")
    texts: dict[str, str] = {}
    for path in mono:
        language = next((end[1:] for end in reversed(path.suffixes) if end.lower() not in PACKED), "")
        if language not in (data.source, data.target):
            raise ConfigError(f"--mono {path}: name it FILE.{data.target} or FILE.{data.source}, by its language")
        if language in texts:
            raise ConfigError(f"--mono {path}: is the second text in {language}; join the two")
        texts[language] = str(path.absolute())
    wanted = [data.target, data.source] if rounds > 1 else [data.target]
    if missing := [language for language in wanted if language not in texts]:
        raise ConfigError(f"--rounds {rounds} needs --mono FILE.{missing[0]}, text in {missing[0]}")
    if spare := [language for language in texts if language not in wanted]:
        raise ConfigError(f"--mono FILE.{spare[0]}: text in {spare[0]} is for --rounds 2 or more")
    if absent := [path for path in mono if not path.is_file()]:
        raise ConfigError(f"--mono {absent[0]}: there is no such file")
    directions = data.source, data.target
    return plan_in_rounds(str(recipe.absolute()), texts, directions, rounds, how, tag or None, overrides)


def _refuse_options_of_mono(options: Mapping[str, object]) -> None:
    """Refuses options that only a plan of `--mono` is made by.

    Raises:
        ConfigError: names the first.
    """
    if given := [name for name, value in options.items() if value is not None]:
        raise ConfigError(f"{given[0]} is for a plan that --mono FILE makes; in a plan of your own, its stages say it")


def _refuse_a_plan_of_somebody(path: Path) -> None:
    """Refuses to write over a plan that this command has not made.

    Raises:
        ConfigError: names the plan.
    """
    if path.exists() and not path.read_bytes().startswith(_MADE.encode()):
        raise ConfigError(f"{path}: is no plan of --mono, which would write over it; name another --runs folder")


def _name(recipe: Path) -> str:
    from nmt.config.reading import load_recipe

    return load_recipe(recipe).name
