"""Test sets as users name them: of the model's own corpus, a pair of files, or one that sacreBLEU has fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nmt_cli.console import note

if TYPE_CHECKING:
    from nmt.config import Recipe
    from nmt.prepared import TestSet


def choose_testsets(recipe: Recipe | None, names: Sequence[str], tokenize: str | None = None) -> list[TestSet]:
    """Test sets by name, or as SOURCE:REFERENCE files; without names all of the recipe's corpus but validation.

    Args:
        recipe: whose corpus is looked at first, then sacreBLEU's cache; None: only files can be named.
        names: as they were given.
        tokenize: sacreBLEU's way to split words, for all of them; None: as the corpus says for its own, else 13a.

    Raises:
        ConfigError: a test set is named twice, or by its name without a recipe; there is none, or no such tokenisation.
        DataError: there is no such test set, or its files are wrong.
    """
    from nmt.errors import ConfigError
    from nmt.metrics import parse_tokenization
    from nmt.prepared import TestSet

    scheme = parse_tokenization(tokenize) if tokenize else None
    files = {name: [Path(part) for part in name.split(":", 1)] for name in names if ":" in name}
    titles = names_apart([source.with_suffix("") for source, _ in files.values()], "-")
    found = {name: TestSet.read(title, *sides) for title, (name, sides) in zip(titles, files.items(), strict=True)}
    others = [name for name in names if ":" not in name]
    if others or not names:
        if recipe is None:
            raise ConfigError(
                "name a test set as SOURCE:REFERENCE: without a model there is no corpus to take one from"
            )
        found |= _named(recipe, others)
    if not found:
        raise ConfigError("this corpus has no test set: name valid, or SOURCE:REFERENCE files, with --testset")
    chosen = [found[name] for name in names or found]
    titles = [item.name for item in chosen]
    if twice := next((title for title in titles if titles.count(title) > 1), None):
        raise ConfigError(f"two test sets are called {twice}: give each once, under a name of its own")
    return [replace(item, tokenize=scheme) if scheme else item for item in chosen]


def names_apart(paths: Sequence[Path], joint: str) -> list[str]:
    """A name for each path: its own, behind as many of the folders before it as tell all apart."""
    whole = [path.absolute().parts for path in paths]
    deepest = max(map(len, whole), default=1)
    count = next(
        (count for count in range(1, deepest) if len({parts[-count:] for parts in whole}) == len(set(whole))), 1
    )
    return [joint.join(parts[-count:]) for parts in whole]


def _named(recipe: Recipe, names: Sequence[str]) -> dict[str, TestSet]:
    """Test sets of the recipe's corpus, or of sacreBLEU's cache for its languages; no names: the corpus's but validation."""
    from nmt.prepared import TestSet
    from nmt_data.cards import load_card
    from nmt_data.prepare import prepare
    from nmt_data.sacrebleu_cache import cached_testset

    prepared = prepare(recipe, say=note)
    own, scheme = prepared.testsets(), load_card(recipe.data.corpus).tokenize
    found: dict[str, TestSet] = {}
    for name in names or [name for name in own if name != "valid"]:
        files = None if name in own else cached_testset(name, recipe.data.source, recipe.data.target)
        if files:
            found[name] = TestSet.read(name.replace("/", "-"), *files)
        else:
            found[name] = replace(prepared.testset(name), tokenize=scheme)
    return found
