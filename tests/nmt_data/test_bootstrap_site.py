"""The site of a plan knows the recipe and the languages of each stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from nmt.config.reading import load_recipe
from nmt.experiments.bootstrap import Training, load_plan, parse_plan
from nmt_data.bootstrap.site import Site

ROOT = Path(__file__).parents[2]


def test_stages_of_many_more_corpora_turn_round_together() -> None:
    """A reversed training swaps the sides of every corpus of its recipe."""
    plan = parse_plan({"title": "x", "stages": [{"name": "a", "train": "recipe.toml", "reverse": True}]}, "test")
    site = Site(plan, ROOT / "recipes/multi30k-ende-attention-distilled", Path("nowhere"))
    stage = plan.stages[0]
    assert isinstance(stage, Training)
    data = site.recipe(stage).data
    assert {(part.source, part.target) for part in (data, *data.more)} == {("de", "en")}


@pytest.mark.parametrize("path", sorted(ROOT.glob("recipes/*/bootstrap.toml")), ids=lambda path: path.parent.name)
def test_the_plans_of_the_checkout_are_right(path: Path) -> None:
    """Every training has a recipe, and the recipes that use their corpora name stages of theirs."""
    plan = load_plan(path.parent)
    site = Site(plan, path.parent, Path("runs") / path.parent.name)
    assert all(site.languages(stage) for stage in plan.stages)
    named = {
        part.corpus
        for recipe in ROOT.glob("recipes/*/recipe.toml")
        for part in load_recipe(recipe).data.more
        if f"runs/{path.parent.name}/" in part.corpus
    }
    made = {(site.runs / stage.name / "corpus.toml").as_posix() for stage in plan.stages}
    assert {name[name.index("runs/") :] for name in named} <= made
