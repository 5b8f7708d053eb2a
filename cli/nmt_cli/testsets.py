"""Test sets as users name them: of the model's own corpus, or a pair of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nmt_cli.console import note

if TYPE_CHECKING:
    from nmt.config import Recipe
    from nmt.prepared import TestSet


def choose_testsets(recipe: Recipe, names: Sequence[str]) -> list[TestSet]:
    """Test sets by name, or as SOURCE:REFERENCE files; without names all of the recipe's corpus but validation."""
    from nmt.prepared import TestSet
    from nmt_data.prepare import prepare

    if names and all(":" in name for name in names):
        return [TestSet.read(Path(name.split(":")[0]).stem, *map(Path, name.split(":", 1))) for name in names]
    prepared = prepare(recipe, say=note)
    return [
        TestSet.read(Path(name.split(":")[0]).stem, *map(Path, name.split(":", 1)))
        if ":" in name
        else prepared.testset(name)
        for name in names or [name for name in prepared.testsets() if name != "valid"]
    ]
