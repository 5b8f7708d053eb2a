"""Fine-tuning keeps the tokenizer of the model that it starts from, unless told otherwise, and says what it carried over."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from command import run
from nmt.config.model import RnnConfig, TransformerConfig
from nmt.config.reading import load_recipe, recipe_to_toml
from nmt.config.recipe import Recipe
from nmt.corpus.prepared import Prepared
from nmt.corpus.tokenizer import Tokenizer, Tokenizers
from nmt.errors import CheckpointError, ConfigError
from nmt.models import build_model
from nmt.storage import bundle
from nmt.storage import checkpoint as store
from nmt.storage.bundle import load_model
from nmt.training.events import Initialised
from nmt.training.fine_tuning import freeze, initialise, misfit
from nmt.training.trainer import Trainer
from nmt_cli.training_display import TrainingDisplay
from nmt_data.prepare import prepare
from tiny import FAMILIES, VISUAL, make_batch, make_model, make_recipe

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
    """No such model, or a file; two vocabularies where one is needed; a language that it has no tag of."""
    with pytest.raises(CheckpointError, match="none"):
        prepare(load_recipe(recipe, ["tokenizer.model=none"]))
    with pytest.raises(ConfigError, match=r"joint\.spm: is a file; name the folder of a run"):
        prepare(load_recipe(recipe, [f"tokenizer.model={parent / 'joint.spm'}"]))
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
    """The display reports how many source and target embeddings were taken from the base model."""
    TrainingDisplay().report(Initialised(0, "base", source=(1200, 8000), target=(5, 5)))
    expected = "embeddings of 1,200 of 8,000 source pieces (the others are new), all 5 target pieces"
    assert expected in capsys.readouterr().err


RNN = {"kind": "rnn", "embedding": 16, "hidden": 16}


@pytest.mark.parametrize("model", [None, RNN], ids=["transformer", "attention"])
def test_fine_tuning_starts_from_the_parents_weights(
    tmp_path: Path, prepared: Prepared, model: dict[str, Any] | None
) -> None:
    """With the same tokenizer all weights are the parent's; the first update already stands on them."""
    parent = tmp_path / "parent"
    parent.mkdir()
    Trainer(make_recipe(model), prepared, parent, CPU).run()
    child = Trainer(make_recipe(model, training={"initialise": str(parent)}), prepared, tmp_path / "child", CPU)
    torch.testing.assert_close(dict(child.model.named_parameters()), store.read_weights(parent / "model"))


@pytest.mark.parametrize(
    "model",
    [None, {"positions": "learned"}, {"kind": "convolution", "embedding": 16, "hidden": 16}],
    ids=["transformer", "learned", "convolution"],
)
def test_fine_tuning_with_another_tokenizer_copies_matching_pieces(
    tmp_path: Path, prepared: Prepared, model: dict[str, Any] | None
) -> None:
    """Rows of embeddings and output go by piece, not those of positions; new pieces keep their fresh rows."""
    parent = tmp_path / "parent"
    parent.mkdir()
    recipe = make_recipe(model)
    Trainer(recipe, prepared, parent, CPU).run()
    lines = ["a b c d e f zebra"] * 3
    tokenizer = Tokenizer.train(lines, make_recipe(tokenizer={"vocabulary": 30}).tokenizer)
    child = build_model(recipe.model, tokenizer.vocabulary_size, tokenizer.vocabulary_size)
    fresh = child.output.weight.detach().clone()
    initialise(child, recipe.model, Tokenizers(tokenizer, tokenizer), parent)
    theirs = bundle.load_model(parent)
    places = {piece: index for index, piece in enumerate(theirs.tokenizers.target.pieces())}
    shared = 0
    for index, piece in enumerate(tokenizer.pieces()):
        expected = theirs.model.output.weight[places[piece]] if piece in places else fresh[index]
        shared += piece in places
        torch.testing.assert_close(child.output.weight[index], expected)
    assert 4 < shared < tokenizer.vocabulary_size
    positions = store.read_weights(parent / "model")
    for name, weight in child.named_parameters():
        if "positions" in name or "learned" in name:
            torch.testing.assert_close(weight, positions[name])
    with pytest.raises(CheckpointError, match=r"cannot start this model: .* the recipe says"):
        initialise(
            make_model("transformer", tokenizer.vocabulary_size),
            FAMILIES["transformer"],
            Tokenizers(tokenizer, tokenizer),
            parent,
        )


TIED = {"kind": "transformer", "width": 32, "feed_forward": 64, "heads": 4, "tie": "output"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tie": "all"}, r"model\.tie = 'output', the recipe says 'all'"),
        ({"norm": "post"}, r"model\.norm = 'pre', the recipe says 'post'"),
        ({"heads": 2}, r"model\.heads = 4, the recipe says 2"),
        ({"encoder_layers": 1}, r"model\.encoder_layers = 3, the recipe says 1"),
        ({"decoder_layers": 4}, r"model\.decoder_layers = 3, the recipe says 4"),
        ({"positions": "none"}, r"model\.positions = 'sinusoidal', the recipe says 'none'"),
        ({"positions": "learned"}, r"model\.positions = 'sinusoidal', the recipe says 'learned'"),
        ({"activation": "gelu"}, r"model\.activation = 'relu', the recipe says 'gelu'"),
        ({"normalization": "rms"}, r"model\.normalization = 'layer', the recipe says 'rms'"),
        ({"scaled": False}, r"model\.scaled = True, the recipe says False"),
        ({"residual": False}, r"model\.residual = True, the recipe says False"),
        ({"width": 16}, r"model\.width = 32, the recipe says 16"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_model_that_computes_something_else_is_refused(
    tmp_path: Path, prepared: Prepared, changes: dict[str, Any], said: str
) -> None:
    """Also where its weights have all names and shapes that are needed; one line names the key."""
    Trainer(make_recipe(TIED, training={"updates": 1}), prepared, tmp_path / "parent", CPU).run()
    recipe = make_recipe(TIED | changes, training={"initialise": str(tmp_path / "parent")})
    with pytest.raises(CheckpointError, match=f"parent: cannot start this model: it has {said}; use its model section"):
        Trainer(recipe, prepared, tmp_path / "child", CPU)


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # of a value that no recipe has
def test_every_key_of_a_model_counts_but_dropout_font_and_parted_tables() -> None:
    """In each family, and in what a visual model is built on."""
    free = {"dropout", "attention_dropout", "activation_dropout", "word_dropout", "font"}
    for config in (*FAMILIES.values(), *VISUAL.values()):
        assert misfit(config, config) is None
        for key in config.model_dump().keys() - {"tie"}:
            found = misfit(config, config.model_copy(update={key: object()}))
            assert (found is None) == (key in free), key
            assert found is None or found.startswith(f"model.{key}")
    ties = [RnnConfig(tie=tie) for tie in ("none", "output", "all")]
    allowed = [[misfit(wanted, start) is None for wanted in ties] for start in ties]
    assert allowed == [[True, False, False], [True, True, False], [True, True, True]]
    assert misfit(RnnConfig(), TransformerConfig()) == "model.kind = 'transformer', the recipe says 'rnn'"
    deep = VISUAL["visual"].model_copy(update={"base": TransformerConfig(heads=8, tie="output")})
    assert misfit(VISUAL["visual"], deep) == "model.base.width = 256, the recipe says 12"


@pytest.mark.parametrize("tie", ["none", "output"])
def test_tables_that_the_other_model_shares_may_part(tmp_path: Path, prepared: Prepared, tie: str) -> None:
    """Each use begins with a copy, so the model begins where the other one ended; dropout may differ too."""
    Trainer(make_recipe(TIED | {"tie": "all"}, training={"updates": 2}), prepared, tmp_path / "parent", CPU).run()
    recipe = make_recipe(TIED | {"tie": tie, "dropout": 0.5}, training={"initialise": str(tmp_path / "parent")})
    child = Trainer(recipe, prepared, tmp_path / "child", CPU).model.eval()
    parent = load_model(tmp_path / "parent").model
    batch = make_batch([5, 3], vocabulary=prepared.tokenizers.target.vocabulary_size)
    with torch.no_grad():
        assert torch.equal(child.output(child(*batch, batch[0])), parent.output(parent(*batch, batch[0])))


def test_frozen_parameters_stay_and_the_others_move(tmp_path: Path, prepared: Prepared) -> None:
    """Parameters matching a pattern are unchanged by training; useless patterns are refused."""
    trainer = Trainer(make_recipe(training={"freeze": ["encoder*", "*norm*"]}), prepared, tmp_path, CPU)
    before = {name: part.detach().clone() for name, part in trainer.model.named_parameters()}
    trainer.run()
    for name, part in trainer.model.named_parameters():
        stays = name.startswith("encoder") or "norm" in name
        assert torch.equal(part, before[name]) == stays, name
    with pytest.raises(ConfigError, match=r"'encodr\*' fits no parameter; they begin with decoder_layers"):
        freeze(trainer.model, ("encodr*",))
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        freeze(trainer.model, ("*",))


def test_the_name_of_a_module_freezes_what_is_below_it() -> None:
    """A module's name freezes all parameters in it, tied ones included, and no others."""
    model = make_model("transformer")
    freeze(model, ("source_embedding", "decoder_layers.1"))
    for name, part in model.named_parameters():
        assert part.requires_grad != name.startswith(("source_embedding.", "decoder_layers.1.")), name
    shared = make_model("additive-lstm")
    freeze(shared, ("source_embedding",))
    assert not shared.output.weight.requires_grad
