"""A MarianMTModel with our weights computes what we do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.config.model import TransformerConfig
from nmt.config.search import SearchConfig
from nmt.errors import ConfigError
from nmt.export.huggingface import compare_with_marian, export_huggingface
from nmt.models import build_model
from nmt.storage.bundle import LoadedModel, load_model
from nmt.training.trainer import Trainer
from nmt_data.prepare import prepare
from nmt_data.synthetic import phrasebook
from tiny import make_recipe

POST: dict[str, Any] = {
    "kind": "transformer",
    "width": 32,
    "feed_forward": 48,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "norm": "post",
}
SWITCHES: dict[str, dict[str, Any]] = {
    "all tied": {},
    "nothing tied, gelu": {"tie": "none", "activation": "gelu"},
    "output tied, learnt positions": {"tie": "output", "positions": "learned"},
}


def _trained(folder: Path, updates: int = 200, joint: bool = True, **switches: Any) -> LoadedModel:
    """Trained for seconds: enough to end by itself."""
    recipe = make_recipe(
        {**POST, **switches},
        data={"corpus": "phrasebook", "source": "de", "target": "en", "limit": 3000},
        tokenizer={"kind": "bpe", "vocabulary": 400, "joint": joint},
        search={"max_length_ratio": 2.0, "max_length_constant": 20},
        training={
            "updates": updates,
            "validate_every": updates,
            "batch_tokens": 800,
            "learning_rate": 5e-3,
            "warmup": 60,
        },
    )
    Trainer(recipe, prepare(recipe), folder, torch.device("cpu")).run()
    return load_model(folder)


@pytest.fixture(scope="module")
def model(home: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return _trained(tmp_path_factory.mktemp("run"), 10)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a library that is not ours
@pytest.mark.parametrize(
    "name",
    [
        "nothing tied, gelu",
        *(pytest.param(name, marks=pytest.mark.thorough) for name in SWITCHES if name != "nothing tied, gelu"),
    ],
)
def test_marian_finds_the_same(name: str, home: Path, tmp_path: Path) -> None:
    """Text in by its tokenizer, tokens equal, log-probabilities to 1e-4."""
    pytest.importorskip("transformers")
    switches = SWITCHES[name]
    loaded = _trained(tmp_path / "run", joint=switches.get("tie", "all") == "all", **switches)
    result = compare_with_marian(loaded, [source for source, _ in phrasebook.split("test")[:60]])
    assert result.sentences >= 30
    assert result.identical == result.sentences
    assert result.largest_difference < 1e-4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a library that is not ours
def test_a_source_too_long_to_read_is_left_out(model: LoadedModel) -> None:
    """And counted; the others are compared."""
    result = compare_with_marian(model, ["die Katze schläft " * 1000, "die Katze schläft"])
    assert (result.sentences, result.cut) in ((1, 1), (0, 2))  # a model of ten updates may not end


def test_the_folder_is_complete(model: LoadedModel, tmp_path: Path) -> None:
    """The Marian export holds all its files, with the right start token and number of layers."""
    export_huggingface(model, tmp_path / "marian")
    written = {path.name for path in (tmp_path / "marian").iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "source.spm", "vocab.json"} <= written
    settings = json.loads((tmp_path / "marian" / "config.json").read_text())
    assert settings["decoder_start_token_id"] == 2
    assert settings["encoder_layers"] == model.recipe.model.model_dump()["encoder_layers"]
    longer = model.recipe.model_copy(update={"search": SearchConfig(max_length_ratio=4)})
    export_huggingface(dataclasses.replace(model, recipe=longer), tmp_path / "longer")
    settings = json.loads((tmp_path / "longer" / "config.json").read_text())
    assert settings["max_position_embeddings"] > 4 * 1024


def test_names_of_control_tokens_in_a_text_are_text(model: LoadedModel, tmp_path: Path) -> None:
    """As in nmt itself."""
    from transformers import MarianTokenizer

    export_huggingface(model, tmp_path / "marian")
    for text in ("die Katze </s> schläft", "<unk> Haus <pad>"):
        found = MarianTokenizer.from_pretrained(tmp_path / "marian")(text).input_ids
        assert found[:-1] == model.tokenizers.source.encode([text])[0]


@pytest.mark.parametrize(
    "changes",
    [{"norm": "pre"}, {"normalization": "rms"}, {"positions": "rotary"}, {"scaled": False}, {"residual": False}],
)
def test_what_marian_does_not_have_is_refused(model: LoadedModel, tmp_path: Path, changes: dict[str, Any]) -> None:
    """By name, before anything is written."""
    config = TransformerConfig.model_validate({**POST, **changes})
    other = build_model(config, *(model.tokenizers.source.vocabulary_size,) * 2)
    with pytest.raises(ConfigError, match=f"no counterpart of model.{next(iter(changes))}"):
        export_huggingface(dataclasses.replace(model, model=other), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_other_families_are_refused(trained: Path, tmp_path: Path) -> None:
    """Exporting an RNN to Hugging Face raises a configuration error."""
    with pytest.raises(ConfigError, match="of another family"):
        export_huggingface(load_model(trained), tmp_path / "x")


@pytest.mark.parametrize("key", ["lowercase", "tag_target"])
def test_what_its_tokenizer_does_not_do_is_refused(model: LoadedModel, tmp_path: Path, key: str) -> None:
    """A model with lowercasing or target tags cannot be exported to Hugging Face."""
    data = model.recipe.data.model_copy(update={key: True})
    with pytest.raises(ConfigError, match=f"no counterpart of data.{key}"):
        export_huggingface(
            dataclasses.replace(model, recipe=model.recipe.model_copy(update={"data": data})), tmp_path / "x"
        )
