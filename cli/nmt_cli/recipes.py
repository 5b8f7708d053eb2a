"""`nmt recipes`: the recipes of a checkout, its plans of several stages, and the schema of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nmt.errors import ConfigError
from nmt_cli.console import print_table, print_text


def recipes(
    folder: Annotated[Path, typer.Option("--folder", help="Where the recipes lie.")] = Path("recipes"),
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of a recipe, for editors.")] = False,
) -> None:
    """List the recipes of a checkout, how far each was reproduced, and the stages of its plans."""
    from nmt.config.reading import load_recipe, recipe_schema
    from nmt.experiments.bootstrap import PLAN, load_plan
    from nmt.experiments.expectations import state

    if schema:
        print_text(recipe_schema())
        return
    paths = sorted(folder.glob("*/recipe.toml"))
    if not paths:
        raise ConfigError(f"{folder}: no recipes here; they belong to a checkout, or name a folder with --folder")
    rows: list[list[str]] = []
    for path in paths:
        recipe = load_recipe(path)
        direction = f"{recipe.data.source}-{recipe.data.target}"
        rows.append([path.parent.name, recipe.data.corpus, direction, recipe.model.family, state(path.parent)])
    print_table("recipes", ["recipe", "corpus", "direction", "model", "state"], rows)
    for path in sorted(folder.glob(f"*/{PLAN}")):
        plan = load_plan(path.parent)
        rows = [
            [f"{'  ' * (depth - 1)}└ {stage.name}" if depth else stage.name, stage.does()]
            for stage, depth in plan.tree()
        ]
        print_table(f"{path.parent.name}: {plan.title}", ["stage", "does"], rows)
