"""What two recipes train on is compared pair by pair, as sets in memory would."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from command import run
from nmt.config.reading import recipe_to_toml
from nmt.config.recipe import Recipe
from nmt.runtime.files import home_folder
from nmt_data.difference import NOT_READ, difference
from nmt_data.means import Means
from nmt_data.prepare import prepare
from tiny import make_recipe

ONE = Means(processes=1, memory=1_000_000_000)


def _recipe(folder: Path, **data: Any) -> Recipe:
    pairs = [(f"Satz {row} " + "a" * (row % 40), f"line {row}") for row in range(120)]
    pairs += [*pairs[5:9], ("same", "same"), *pairs[5:6]]
    for side, language in enumerate(("de", "en")):
        (folder / f"train.{language}").write_text("".join(f"{pair[side]}\n" for pair in pairs))
        (folder / f"valid.{language}").write_text("x y\n")
    (folder / "card.toml").write_text(
        'name = "mine"\ntitle = "t"\nlicence = "l"\nlanguages = ["de", "en"]\n'
        'splits = { train = "train.{language}", valid = "valid.{language}" }\n'
    )
    values = {"corpus": str(folder / "card.toml"), "source": "de", "target": "en"}
    return make_recipe(data=values | data)


def test_the_difference_is_that_of_multisets(tmp_path: Path, home: Path) -> None:
    """Counts, reasons and examples equal those of both prepared corpora, compared in memory; nothing is left on disk."""
    first = _recipe(tmp_path, cleaning={"duplicates": "exact"})
    second = _recipe(tmp_path, limit=122, cleaning={"max_ratio": 3.0})
    before = set((home_folder() / "corpora").glob("*"))
    found = difference(first, second, ONE)
    assert set((home_folder() / "corpora").glob("*")) == before
    texts = [prepare(recipe).training_text() for recipe in (first, second)]
    counted = [Counter(zip(text.source, text.target, strict=True)) for text in texts]
    assert found.kept == tuple(sum(pairs.values()) for pairs in counted)
    for side, own, other in ((found.first, *counted), (found.second, *counted[::-1])):
        assert sum(side.counts.values()) == sum((own - other).values())
        assert {(source, target) for _, source, target in side.examples} <= (own - other).keys()
    assert found.first.counts.keys() == {"length ratio", NOT_READ}
    assert found.second.counts == {"duplicate": 2}
    assert len(found.first.examples) == 10


def test_the_verb_prints_counts_and_examples(tmp_path: Path, home: Path) -> None:
    """A setting is compared with the recipe as it is; without one there is nothing to compare."""
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_to_toml(_recipe(tmp_path)))
    shown = run("data", "diff", path, "--set", "data.cleaning.drop_identical=true")
    assert shown.exit_code == 0
    assert "only first: identical sides: same | same" in shown.stdout
    assert "only second" not in shown.stdout
    refused = run("data", "diff", path)
    assert refused.exit_code == 1
    assert "does not differ from itself" in str(refused.stderr)


@pytest.mark.parametrize("sides", [0, 1])
def test_equal_recipes_do_not_differ(tmp_path: Path, home: Path, sides: int) -> None:
    """Neither side has pairs of its own."""
    found = difference(_recipe(tmp_path), _recipe(tmp_path), ONE)
    assert not (found.first, found.second)[sides].counts
