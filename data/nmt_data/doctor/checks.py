"""What training checks before it prepares the corpus."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from nmt.config.recipe import Recipe
from nmt.runtime.files import check_output
from nmt.scoring.tokenization import check_tokenization
from nmt.storage.run_folder import RunFolder
from nmt.training.memory import check_least
from nmt_data.cards import load_card

Check = Callable[[], object]


def first_checks(recipe: Recipe, run: Path, device: torch.device) -> list[tuple[str, Check]]:
    """Returns the checks in order, each with the topic that it belongs to; a check that fails raises NmtError."""
    return [
        ("run", RunFolder(run).check_owner),
        ("run", partial(check_output, run, folder=True)),
        ("memory", partial(check_least, recipe, device)),
        ("corpus", partial(load_card, recipe.data.corpus)),
        ("scores", partial(_check_scores, recipe)),
    ]


def _check_scores(recipe: Recipe) -> None:
    check_tokenization(load_card(recipe.data.corpus).tokenization(recipe.data.target))
