"""Every recipe is valid, says what it is, and has a rule and a page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nmt.config.reading import load_recipe, recipe_to_toml
from nmt.scoring.metrics import EVERY_METRIC
from nmt_data.cards import load_card

ROOT = Path(__file__).parents[1]
RECIPES = sorted(ROOT.glob("recipes/*/recipe.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name)
def test_a_recipe_is_valid_and_resolves_to_itself(path: Path, tmp_path: Path) -> None:
    """Each recipe loads, names its corpus and folder rightly, and survives writing and reading unchanged."""
    recipe = load_recipe(path.parent)
    assert recipe.name == path.parent.name
    if not any((path.parent / name).exists() for name in ("join.py", "draw.py")):  # which make its corpus
        assert load_card(recipe.data.corpus, (recipe.data.source, recipe.data.target))
    resolved = tmp_path / "recipe.toml"
    resolved.write_text(recipe_to_toml(recipe), encoding="utf-8")
    assert load_recipe(resolved) == recipe


def test_results_carry_their_provenance() -> None:
    """A result names device, versions and seed, and each score its signature."""
    for path in ROOT.glob("recipes/**/result.json"):
        result = json.loads(path.read_text())
        assert {"device", "versions", "seed", "seconds", "parameters", "evaluations"} <= result.keys(), path
        for evaluation in result["evaluations"]:
            assert all(score["signature"] for score in evaluation["scores"]), path


def test_the_table_of_decoding_is_made_of_its_rows(tmp_path: Path) -> None:
    """A line for each CPU and way to search, of the newest rows; blank where an engine could not run."""
    folder = ROOT / "recipes/multi30k-reference"
    row = {
        "device": "CPU (avx2), 1 thread",
        "model": "m",
        "beam": 5,
        "batch": 32,
        "version": "9.9",
        "latency_p50_ms": 4.0,
    }
    ratios = {"ratio_to_ctranslate2_float32": 1.26, "ratio_to_ctranslate2_float32_range": [1.1, 1.3]}
    rows = [
        {**row, **ratios, "engine": "nmt", "precision": "fp32", "latency_p50_ms": 9.0},
        {**row, **ratios, "engine": "nmt", "precision": "fp32"},
        {**row, "engine": "ctranslate2", "precision": "float32", "latency_p50_ms": 5.0},
        {"family": "a row of before"},
    ]
    (tmp_path / "rows").write_text("".join(json.dumps(item) + "\n" for item in rows))
    (tmp_path / "page").write_text((ROOT / "RESULTS.md").read_text("utf-8"), encoding="utf-8")
    script = folder / "table.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "rows"), str(tmp_path / "page")], check=True)
    line = "| CPU (avx2), 1 thread | m | beam 5, batch 32 | 1.26 [1.10, 1.30] |  |  |  | 4.0 / 5.0 | - / - | 9.9 |"
    page = (tmp_path / "page").read_text("utf-8")
    assert line in page.splitlines()
    subprocess.run([sys.executable, str(script), str(folder / "decode-cpus.jsonl"), str(tmp_path / "page")], check=True)
    assert (tmp_path / "page").read_text("utf-8") == (ROOT / "RESULTS.md").read_text("utf-8")


def test_the_tables_are_those_of_the_results() -> None:
    """Each score with its interval in a row that links to a recipe stands, rounded, in that recipe's result."""
    text = "\n".join((ROOT / name).read_text("utf-8") for name in ("README.md", "RESULTS.md"))
    rows = [line for line in text.splitlines() if line.startswith("| [")]
    checked = 0
    for row in rows:
        link = re.search(r"\]\(recipes/([\w/-]+)\)", row)
        if link is None or not (path := ROOT / "recipes" / link[1] / "result.json").exists():
            continue
        scores = [score for part in json.loads(path.read_text())["evaluations"] for score in part["scores"]]
        known = {tuple(f"{score[key]:.1f}" for key in ("value", "low", "high")) for score in scores}
        for shown in re.findall(r"(\d+\.\d) \[(\d+\.\d), (\d+\.\d)\]", row):
            assert shown in known, f"{shown} is said of {link[1]}"
            checked += 1
    assert checked > 10


def test_results_name_metrics_as_options_do() -> None:
    """Single scores and paired tests alike."""
    known = {*EVERY_METRIC, "accuracy"}
    for path in sorted(ROOT.glob("recipes/**/*.json")):
        assert set(re.findall(r'"metric": "(\w+)"', path.read_text())) <= known, path


def _p_values(content: Any) -> Iterator[float]:
    if isinstance(content, dict):
        if isinstance(value := content.get("p_value"), float):
            yield value
        content = list(content.values())
    for part in content if isinstance(content, list) else ():
        yield from _p_values(part)


@pytest.mark.parametrize(
    "page", [ROOT / "RESULTS.md", *sorted(ROOT.glob("recipes/*/README.md"))], ids=lambda page: page.parent.name
)
def test_each_p_is_that_of_a_comparison(page: Path) -> None:
    """Whatever stands in a column `p` of a page that names files of tests stands, rounded, in one of these files."""
    text = page.read_text("utf-8")
    folders = re.findall(r"\]\((recipes/[\w/-]+)\)", text)
    names = [*re.findall(r"[\w./-]+\.json", text), *(f"{folder}/results.json" for folder in folders)]
    places = page.parent, ROOT / "recipes"
    files = {path.resolve() for name in names for place in places if (path := place / name).exists()}
    values = [value for path in files for value in _p_values(json.loads(path.read_text("utf-8")))]
    head: list[str] = []
    for line in text.splitlines() if values else ():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        head = [] if not line.startswith("|") else head or cells
        for name, cell in zip(head, cells, strict=False):
            for shown in re.findall(r"(?<!\d)\.\d+", cell) if name == "p" else ():
                assert any(f"{value:.{len(shown) - 1}f}"[1:] == shown for value in values), f"{shown} in {line}"
