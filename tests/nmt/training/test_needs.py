"""The estimate of memory and disk agrees with what trainings take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from command import environment
from nmt.config.reading import load_recipe, recipe_to_toml
from nmt.config.recipe import Recipe
from nmt.runtime.cpu import instructions
from nmt.runtime.device import onednn_is_faster
from nmt.storage.checkpoint import checkpoints
from nmt.training.needs import Needs, checkpoints_kept, training_needs, validations
from nmt.training.trainer import Trainer
from nmt_data.prepare import prepare
from tiny import make_recipe

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
RECIPES = Path(__file__).parents[3] / "recipes"
FEW = ("training.updates=12", "training.validate_every=12", "training.validation_sentences=50")


def needs_of(recipe: Recipe, device: torch.device = CPU) -> Needs:
    """The needs of a recipe on its prepared corpus."""
    return training_needs(recipe, prepare(recipe), device)


@pytest.mark.parametrize(
    "training",
    [{}, {"ema": 0.9}, {"optimizer": "muon"}, {"freeze": ("encoder*",)}, {"optimizer": "muon", "ema": 0.9}],
)
def test_checkpoints_are_as_large_as_estimated(training: dict[str, object], tmp_path: Path) -> None:
    """Each, and all of them after a training that keeps as many as it says."""
    recipe = make_recipe(training={"updates": 4, "validate_every": 1, "keep": 3, **training})
    prepared = prepare(recipe)
    needs = training_needs(recipe, prepared, CPU)
    Trainer(recipe, prepared, tmp_path, CPU).run()
    sizes = [_size(path) for path in checkpoints(tmp_path / "checkpoints")]
    assert sizes == [pytest.approx(needs.checkpoint, rel=0.2)] * len(sizes)
    assert recipe.training.keep <= len(sizes) <= checkpoints_kept(recipe.training) == needs.checkpoints - 1
    assert sum(sizes) <= 1.2 * needs.disk


def test_no_more_checkpoints_are_counted_than_validations() -> None:
    """A short training writes few; one that validates seldom still validates at its end."""
    training = make_recipe(training={"updates": 7, "validate_every": 3, "keep": 10}).training
    assert (validations(training), checkpoints_kept(training)) == (3, 3)


def test_needs_grow_with_what_needs_them() -> None:
    """With the batch, the width, the running mean, and the number of updates; frozen weights and a GPU need less."""
    few = needs_of(make_recipe())
    more = needs_of(make_recipe(training={"batch_tokens": 2048}))
    assert (more.kept > few.kept, more.state == few.state) == (True, True)
    assert needs_of(make_recipe({"width": 64})).state > few.state
    assert needs_of(make_recipe(training={"ema": 0.9})).state > few.state
    for precision, grows in (("bf16", True), ("fp32", False)):  # of which oneDNN keeps code for each shape
        short, long = (needs_of(make_recipe(training={"updates": count, "precision": precision})) for count in (6, 600))
        assert (long.caches > short.caches) is (grows or (onednn_is_faster() and "avx512f" in instructions().needs))
    assert needs_of(make_recipe(training={"freeze": ("encoder*",)})).state < few.state
    on_gpu = needs_of(make_recipe(), CUDA)
    assert on_gpu.memory == on_gpu.least == on_gpu.state + on_gpu.kept < few.memory


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name",
    [
        "letters",
        "phrasebook-attention",
        "phrasebook-bottleneck",
        "phrasebook-transformer",
        "phrasebook-visual",
        pytest.param("multi30k-small-transformer", marks=pytest.mark.data),
        pytest.param("multi30k-small-convolution", marks=pytest.mark.data),
    ],
)
def test_memory_is_as_estimated(name: str, tmp_path: Path) -> None:
    """Within 20 % of the peak of a process that trains and validates, less what torch takes when it is imported."""
    recipe = make_recipe() if name == "letters" else load_recipe(RECIPES / name, FEW)
    prepare(recipe)
    file = tmp_path / "recipe.toml"
    file.write_text(recipe_to_toml(recipe, tmp_path))
    command = [sys.executable, "-c", _TRAINING, str(file), str(tmp_path / "run")]
    done = subprocess.run(command, env=environment(), capture_output=True, check=True, text=True)
    assert needs_of(recipe).memory == pytest.approx(float(done.stdout.split()[-1]), rel=0.2)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "multi30k-deen-convolution",
        "multi30k-deen-transformer",
        "multi30k-ende-bottleneck",
        "multi30k-ende-transformer",
        "multi30k-ende-transformer-raw",
        "multi30k-enfr-attention",
        "multi30k-enfr-bottleneck",
        "multi30k-enfr-transformer",
    ],
)
def test_memory_of_whole_trainings_is_as_logged(name: str) -> None:
    """Within 20 % of the largest that recipes logged which trained in one process, less what torch took and imported then."""
    entries = map(json.loads, (RECIPES / name / "log.jsonl").read_text(encoding="utf-8").splitlines())
    logged = 1024e3 * max(entry.get("memory_mb", 0) for entry in entries) - 415e6  # the log counts in 1000 KiB
    recipe = load_recipe(RECIPES / name, ["training.precision=bf16"])
    assert needs_of(recipe).memory == pytest.approx(logged, rel=0.2)


_TRAINING = """
import sys
from pathlib import Path
import torch
from nmt.runtime.device import peak_memory_mb
cpu = torch.device("cpu")
before = peak_memory_mb(cpu)
from nmt.config.reading import load_recipe
from nmt.training.trainer import Trainer
from nmt_data.prepare import prepare
recipe = load_recipe(Path(sys.argv[1]))
Trainer(recipe, prepare(recipe), Path(sys.argv[2]), cpu).run()
print(1e6 * (peak_memory_mb(cpu) - before))
"""


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
