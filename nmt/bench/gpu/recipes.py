"""Call C: a whole recipe on the card, from the first update to the score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nmt.bench.gpu.context import NMT, Context, run_command
from nmt.bench.gpu.ledger import read_figures

_RECIPE = Path("recipes/multi30k-ende-transformer")
_TESTSET = "test_2016_flickr"


def train_recipe(context: Context) -> None:
    """Trains a recipe and evaluates it; also writes the score of the same recipe on the CPU."""
    recipe, run = (context.recipe_path if context.quick else _RECIPE), context.work / "recipe"
    less = ["--set", "training.updates=4", "--set", "training.validate_every=2"] if context.quick else []
    run_command([*NMT, "train", str(recipe), "--run", str(run), "--device", str(context.device), *less])
    rows = read_figures(run / "log.jsonl")
    for row in [row for row in rows if row.get("kind") == "train"][-1:]:
        context.write("training", row["seconds"], "s")
    scores = [row["bleu"] for row in rows if row.get("kind") == "validation"]
    context.write("best validation BLEU", max(scores), f"of {len(scores)}")
    if not context.quick:
        context.write("validation BLEU on the CPU", _known(recipe)["validation"]["bleu"], "")
        _evaluate(context, recipe, run)


def _evaluate(context: Context, recipe: Path, run: Path) -> None:
    saved = context.work / "results"
    run_command(
        [*NMT, "evaluate", str(run), "--testset", _TESTSET, "--device", str(context.device), "--save", str(saved)]
    )
    for name, result in (("", json.loads((saved / "result.json").read_text("utf-8"))), (" on the CPU", _known(recipe))):
        for evaluation in result["evaluations"]:
            if evaluation["testset"] == _TESTSET:
                for score in evaluation["scores"]:
                    context.write(f"{score['metric']}{name}", score["value"], _TESTSET)


def _known(recipe: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((recipe / "result.json").read_text("utf-8"))
    return found
