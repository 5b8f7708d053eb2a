"""CTranslate2 is the independent oracle of our search: the same tokens and log-probabilities from the same weights."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch

from nmt.config.model import TransformerConfig
from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import Tokenizer, Tokenizers
from nmt.errors import ConfigError
from nmt.export.argos import export_argos
from nmt.export.ctranslate2 import CTranslate2Engine, compare_engines, export_ctranslate2
from nmt.models import build_model
from nmt.storage.bundle import LoadedModel, load_model
from nmt.training.trainer import Trainer
from nmt.translation.result import Options
from nmt.translation.translator import Translator
from nmt_data.prepare import prepare
from nmt_data.synthetic import phrasebook
from tiny import make_recipe

ctranslate2 = pytest.importorskip("ctranslate2")

SEARCH = {"max_length_ratio": 2.0, "max_length_constant": 20, "beam": 4}
SMALL: dict[str, Any] = {
    "kind": "transformer",
    "width": 32,
    "feed_forward": 48,
    "encoder_layers": 2,
    "decoder_layers": 2,
}
MODELS: dict[str, dict[str, Any]] = {
    "pre": {"heads": 4},
    "post": {"norm": "post", "activation": "gelu", "tie": "none"},
    "output tied": {"width": 24, "heads": 3, "decoder_layers": 1, "tie": "output"},
    "learnt positions, RMSNorm": {"positions": "learned", "normalization": "rms"},
    "no positions": {"positions": "none"},
}


@pytest.fixture(scope="module")
def transformer(home: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return _trained("pre", tmp_path_factory.mktemp("run"), 100)


def _trained(name: str, folder: Path, updates: int = 200) -> LoadedModel:
    """Trained for seconds: enough to end by itself."""
    recipe = make_recipe(
        SMALL | MODELS[name],
        data={"corpus": "phrasebook", "source": "de", "target": "en", "limit": 3000},
        tokenizer={"kind": "bpe", "vocabulary": 400},
        search=SEARCH,
        training={
            "updates": updates,
            "validate_every": updates,
            "batch_tokens": 800,
            "learning_rate": 8e-3,
            "warmup": 10,
        },
    )
    Trainer(recipe, prepare(recipe), folder, torch.device("cpu")).run()
    return load_model(folder)


def _sentences(count: int) -> list[str]:
    return [source for source, _ in phrasebook.split("test")[:count]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["post", *(pytest.param(name, marks=pytest.mark.thorough) for name in MODELS if name != "post")]
)
def test_both_engines_find_the_same(name: str, home: Path, tmp_path: Path) -> None:
    """200 sentences: tokens equal, log-probabilities to 1e-4."""
    result = compare_engines(_trained(name, tmp_path), _sentences(200))
    assert result.sentences >= 100
    assert result.identical >= 0.99 * result.sentences  # ties in single precision, and the share of the begin token
    assert result.largest_difference < 1e-4


def test_the_translator_runs_on_it(transformer: LoadedModel) -> None:
    """Translating through CTranslate2 gives nearly the same lines as our own search."""
    lines = [*_sentences(5), "", "x"]
    search = transformer.recipe.search.model_copy(update={"stopping": "count"})
    ours = Translator(transformer, search=search).translate(lines)
    theirs = Translator(transformer, search=search, engine=CTranslate2Engine(transformer)).translate(lines)
    assert sum(one == two for one, two in zip(ours, theirs, strict=True)) >= 6


def test_a_sentence_has_its_own_limit(transformer: LoadedModel) -> None:
    """Its translation does not depend on the batch, also where it is cut."""
    search = transformer.recipe.search.model_copy(update={"max_length_ratio": 0.7, "max_length_constant": 0})
    engine = CTranslate2Engine(transformer)
    lines = _sentences(12)
    found = [
        Translator(transformer, search=search, engine=engine, batch_size=size).translate(lines) for size in (1, 12)
    ]
    assert found[0] == found[1]


def test_an_export_is_judged_by_what_both_engines_have(transformer: LoadedModel) -> None:
    """Rules, groups and the coverage penalty of the recipe do not count."""
    odd = {"min_length": 30, "groups": 2, "coverage_penalty": 0.2, "no_repeat_ngram": 1}
    recipe = transformer.recipe.model_copy(update={"search": transformer.recipe.search.model_copy(update=odd)})
    result = compare_engines(dataclasses.replace(transformer, recipe=recipe), _sentences(10))
    assert result.identical == result.sentences > 5


def test_a_source_too_long_to_read_is_left_out(transformer: LoadedModel) -> None:
    """And counted; the others are compared."""
    result = compare_engines(transformer, ["die Katze schläft " * 1000, *_sentences(10)])
    assert result.sentences + result.cut == 11
    assert result.cut >= 1
    assert result.largest_difference < 1e-3


def test_a_setting_that_the_engine_lacks_is_refused_later_too(transformer: LoadedModel) -> None:
    """When a translator with that engine is asked for it, as when it is made."""
    translator = Translator(transformer, engine=CTranslate2Engine(transformer))
    with pytest.raises(ConfigError, match="beam and length penalty alone"):
        translator.with_search(min_length=30)


def test_the_folder_is_complete(transformer: LoadedModel, tmp_path: Path) -> None:
    """An int8 export holds model, configuration and tokenizer, and CTranslate2 loads it."""
    folder = tmp_path / "exported"
    export_ctranslate2(transformer, folder, "int8")
    assert {"model.bin", "config.json", "joint.spm"} <= {path.name for path in folder.iterdir()}
    assert ctranslate2.Translator(str(folder)).compute_type.startswith("int8")


def test_a_package_for_argos_translates_as_we_do(transformer: LoadedModel, tmp_path: Path) -> None:
    """Read as Argos Translate reads it: one folder, the languages, pieces of one vocabulary as text, CTranslate2's search."""
    export_argos(transformer, tmp_path / "new" / "de-en.argosmodel")
    zipfile.ZipFile(tmp_path / "new" / "de-en.argosmodel").extractall(tmp_path)
    folder = tmp_path / "translate-de_en"
    told = json.loads((folder / "metadata.json").read_text())
    assert (told["from_code"], told["from_name"], told["to_code"], told["to_name"]) == ("de", "German", "en", "English")
    pieces: Any = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sentencepiece.model"))
    engine = ctranslate2.Translator(str(folder / "model"))
    lines = _sentences(6)
    search = SearchConfig.model_validate(SEARCH | {"stopping": "count", "alpha": 0.2})
    ours = Translator(transformer, search=search).translate(lines)
    found = engine.translate_batch(pieces.encode(lines, out_type=str), beam_size=4, length_penalty=0.2)
    theirs = [pieces.decode_pieces(item.hypotheses[0]) for item in found]
    assert sum(one == two for one, two in zip(ours, theirs, strict=True)) >= 5


def test_what_argos_cannot_do_is_refused(transformer: LoadedModel, tmp_path: Path) -> None:
    """Two vocabularies, words, bytes, tags of languages, lower case and other signs, each by its key; nothing is written."""
    two = Tokenizers(transformer.tokenizers.source, Tokenizer(transformer.tokenizers.source.model))
    wrong = {"tokenizer.joint": dataclasses.replace(transformer, tokenizers=two)}
    recipe = transformer.recipe
    changes = [("data", "tag_target", True), ("data", "lowercase", True)]
    changes += [("tokenizer", "kind", kind) for kind in ("word", "byte")]
    changes += [("data", "normalise", kind) for kind in ("nfc", "moses")]
    for section, key, value in changes:
        changed = getattr(recipe, section).model_copy(update={key: value})
        other = recipe.model_copy(update={section: changed})
        shown = f"{section}.{key} = {value if value is True else repr(value)}".replace("True", "true")
        wrong[shown] = dataclasses.replace(transformer, recipe=other)
    for key, loaded in wrong.items():
        with pytest.raises(ConfigError, match=key):
            export_argos(loaded, tmp_path / "x.argosmodel")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes", [{"positions": "rotary"}, {"positions": "alibi"}, {"scaled": False}, {"residual": False}]
)
def test_switches_without_a_counterpart_are_refused(
    transformer: LoadedModel, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """By name, before anything is written."""
    config = TransformerConfig.model_validate(SMALL | MODELS["pre"] | changes)
    model = build_model(config, *(transformer.tokenizers.source.vocabulary_size,) * 2)
    with pytest.raises(ConfigError, match=f"no counterpart of model.{next(iter(changes))}"):
        export_ctranslate2(dataclasses.replace(transformer, model=model), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_recurrent_models_are_refused(trained: Path, tmp_path: Path) -> None:
    """Exporting an RNN to CTranslate2 is a configuration error and writes no folder."""
    with pytest.raises(ConfigError, match="Transformers only"):
        export_ctranslate2(load_model(trained), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_what_it_cannot_search_by_is_refused(transformer: LoadedModel) -> None:
    """Forbidden words, prefixes and the GNMT length penalty are errors with the CTranslate2 engine."""
    engine = CTranslate2Engine(transformer)
    with pytest.raises(ConfigError, match="leave the other options out"):
        Translator(transformer, options=Options(forbidden=["x"]), engine=engine)
    with pytest.raises(ConfigError, match="prefixes go with our own search"):
        Translator(transformer, engine=engine).translate_n_best(["x"], 1, ["y"])
    with pytest.raises(ConfigError, match="GNMT"):
        engine.search([[5, 6]], SearchConfig(length_penalty="gnmt"))
    with pytest.raises(ConfigError, match="positions of this model"):
        engine.search([[5, 6]], SearchConfig(max_length_constant=5000))


def test_a_type_that_it_does_not_have_is_refused(transformer: LoadedModel) -> None:
    """An unsupported compute type is an error that lists the supported ones."""
    with pytest.raises(ConfigError, match=r"CTranslate2 has no float8 on this CPU, only .*float32"):
        CTranslate2Engine(transformer, "float8")


def test_an_unknown_quantization_is_refused(transformer: LoadedModel, tmp_path: Path) -> None:
    """By name, with those that there are; nothing is written."""
    with pytest.raises(ConfigError, match="quantization: x is not a valid"):
        export_ctranslate2(transformer, tmp_path / "folder", "x")
    assert not (tmp_path / "folder").exists()
