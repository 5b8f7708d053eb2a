"""Test sets as users name them: of the model's own corpus, or a pair of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nmt_cli.console import note

if TYPE_CHECKING:
    from nmt.config import Recipe, Tokenization
    from nmt.prepared import TestSet


def choose_testsets(recipe: Recipe | None, names: Sequence[str]) -> list[TestSet]:
    """Test sets by name, or as SOURCE:REFERENCE files; without names all of the recipe's corpus but validation."""
    from nmt.errors import ConfigError
    from nmt.prepared import TestSet
    from nmt_data.prepare import prepare

    if names and all(":" in name for name in names):
        return [TestSet.read(Path(name.split(":")[0]).stem, *map(Path, name.split(":", 1))) for name in names]
    if recipe is None:
        raise ConfigError("name a test set as SOURCE:REFERENCE: without a model there is no corpus to take one from")
    prepared = prepare(recipe, say=note)
    return [
        TestSet.read(Path(name.split(":")[0]).stem, *map(Path, name.split(":", 1)))
        if ":" in name
        else prepared.testset(name)
        for name in names or [name for name in prepared.testsets() if name != "valid"]
    ]


def choose_tokenization(recipe: Recipe | None, names: Sequence[str], wanted: str | None) -> Tokenization:
    """How sacreBLEU splits words: as asked for, else as the corpus says where it is the corpus's text."""
    from nmt.metrics import parse_tokenization
    from nmt_data.cards import load_card

    if wanted is not None:
        return parse_tokenization(wanted)
    files = names and all(":" in name for name in names)
    return "13a" if files or recipe is None else load_card(recipe.data.corpus).tokenize
