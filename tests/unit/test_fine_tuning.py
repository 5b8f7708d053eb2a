"""Fine-tuning keeps the tokenizer of the model that it starts from, unless told otherwise, and says what it carried over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from command import run
from nmt.config.reading import load_recipe, recipe_to_toml
from nmt.config.recipe import Recipe
from nmt.corpus.prepared import Prepared
from nmt.errors import CheckpointError, ConfigError
from nmt.storage.checkpoint import load_model
from nmt.training.trainer import Trainer
from nmt_cli.console import TrainingDisplay
from nmt_data.prepare import prepare
from tiny import make_recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Path:
    """A run of a word vocabulary of letters."""
    folder = tmp_path_factory.mktemp("parent")
    Trainer(make_recipe(training={"updates": 2}), prepared, folder, CPU).run()
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe for a small corpus, with a tokenizer section that would make another vocabulary."""
    for name in ("train", "valid", "test"):
        for language in ("input", "output"):
            (tmp_path / f"{name}.{language}").write_text("".join(f"a b zebra {index % 3}\n" for index in range(12)))
    splits = "".join(f'{name} = "{name}.{{language}}"\n' for name in ("train", "valid", "test"))
    head = 'name = "small"\ntitle = "m"\nlicence = "m"\nlanguages = ["input", "output"]\n'
    (tmp_path / "card.toml").write_text(f"{head}[splits]\n{splits}")
    small = make_recipe(
        data={"corpus": "card.toml", "source": "input", "target": "output"},
        tokenizer={"kind": "character", "vocabulary": 30},
        training={"updates": 2},
    )
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(small))
    return tmp_path / "recipe.toml"


def _settings(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def test_the_tokenizer_is_kept(parent: Path, recipe: Path, tmp_path: Path) -> None:
    """Of a run, a bundle and a checkpoint; the resolved recipe says its settings, and the first lines what was carried."""
    theirs = load_model(parent)
    for number, model in enumerate((parent, parent / "model", parent / "checkpoints" / "step-00000002")):
        folder = tmp_path / f"run-{number}"
        result = run("train", recipe, "--run", folder, *_settings(f"training.initialise={model}"))
        assert result.exit_code == 0, result.output
        loaded = load_model(folder)
        assert loaded.tokenizers.source.model == theirs.tokenizers.source.model
        assert loaded.recipe.tokenizer.kind == "word"
        size = theirs.tokenizers.source.vocabulary_size
        assert f"begins with the weights of {model} and the embeddings of all {size:,} pieces" in result.output


def test_a_new_tokenizer_is_trained_where_that_is_asked_for(parent: Path, recipe: Path, tmp_path: Path) -> None:
    """What could not be carried over is counted."""
    settings = _settings(f"training.initialise={parent}", "tokenizer.model=new")
    result = run("train", recipe, "--run", tmp_path / "run", *settings)
    assert result.exit_code == 0, result.output
    loaded, theirs = load_model(tmp_path / "run"), load_model(parent)
    assert loaded.recipe.tokenizer.kind == "character"
    pieces = loaded.tokenizers.source.pieces()
    shared = len(set(pieces) & set(theirs.tokenizers.source.pieces()))
    assert 4 <= shared < len(pieces)
    assert f"the embeddings of {shared} of {len(pieces)} pieces (the others are new)" in result.output


def test_a_fine_tuned_model_stands_alone(parent: Path, recipe: Path, tmp_path: Path) -> None:
    """It is evaluated, and its training goes on, when the model that it began with is gone."""
    base, folder = tmp_path / "base", tmp_path / "run"
    shutil.copytree(parent, base)
    settings = _settings("training.initialise=base")
    assert run("train", recipe, "--run", folder, *settings).exit_code == 0
    prints = load_model(folder).tokenizers.fingerprints
    again = run("train", recipe, "--run", folder, *settings, "--set", "training.updates=3")
    assert again.exit_code == 0, again.output
    shutil.rmtree(base)
    for model in (folder, folder / "model"):
        result = run("evaluate", model, "--metric", "bleu")
        assert result.exit_code == 0, result.output
    resumed = run("train", folder / "recipe.toml", "--run", folder, "--set", "training.updates=4")
    assert resumed.exit_code == 0, resumed.output
    assert load_model(folder).tokenizers.fingerprints == prints


def test_another_models_tokenizer_is_taken_without_its_weights(parent: Path, recipe: Path) -> None:
    """So that models of different corpora can vote together."""
    chosen = load_recipe(recipe, [f"tokenizer.model={parent}"])
    assert prepare(chosen).tokenizers.fingerprints == load_model(parent).tokenizers.fingerprints
    assert prepare(load_recipe(recipe)).folder != prepare(chosen).folder


def test_tokenizers_that_do_not_fit_are_one_line(parent: Path, recipe: Path, tmp_path: Path) -> None:
    """No such model; two vocabularies where one is needed; a language that it has no tag of."""
    with pytest.raises(CheckpointError, match="none"):
        prepare(load_recipe(recipe, ["tokenizer.model=none"]))
    with pytest.raises(ConfigError, match=r"has no <2output>; tokenizer\.model = 'new' trains another"):
        prepare(load_recipe(recipe, [f"tokenizer.model={parent}", "data.tag_target=true"]))
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "recipe.toml").write_text("tokenizer = 5")
    assert load_recipe(recipe, ["tokenizer.model=odd"]).tokenizer.model == str(tmp_path / "odd")
    split = tmp_path / "split"
    split.mkdir()
    for side in ("source", "target"):
        shutil.copy(parent / "joint.spm", split / f"{side}.spm")
    with pytest.raises(ConfigError, match=r"model\.tie = 'all' needs one vocabulary, and .*split has two"):
        prepare(_with(load_recipe(recipe), str(split)))


def _with(recipe: Recipe, model: str) -> Recipe:
    return recipe.model_copy(update={"tokenizer": recipe.tokenizer.model_copy(update={"model": model})})


def test_what_was_carried_is_told_for_each_side(capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"kind": "initialised", "step": 0, "path": "base", "source": [1200, 8000], "target": [5, 5]}
    TrainingDisplay().report(json.loads(json.dumps(entry)))
    expected = "embeddings of 1,200 of 8,000 source pieces (the others are new), all 5 target pieces"
    assert expected in capsys.readouterr().err
