"""Text without translations takes the way of the pairs: read, cleaned, audited, counted, and part of the tokenizer."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command import run
from nmt.config.reading import load_recipe, recipe_to_toml
from nmt.config.recipe import Recipe
from nmt.corpus.tokenizer import MASK
from nmt.errors import ConfigError, DataError
from nmt_data.prepare import prepare
from tiny import LETTERS, make_recipe

PAIRS = [(f"das ist Satz {index} hier", f"this is sentence {index} here") for index in range(60)]
DENOISE = {"objective": "denoise"}


@pytest.fixture
def card(tmp_path: Path) -> str:
    """A corpus of two languages, and a text of each."""
    for name, pairs in (("train", PAIRS), ("valid", [(f"Frage {index}", f"question {index}") for index in range(5)])):
        for side, language in enumerate(("de", "en")):
            (tmp_path / f"{name}.{language}").write_text("".join(f"{pair[side]}\n" for pair in pairs))
    (tmp_path / "text.de").write_text("".join(f"noch ein Satz {index}\n" for index in range(30)))
    (tmp_path / "text.en").write_text("".join(f"one more sentence {index}\n" for index in range(20)))
    path = tmp_path / "card.toml"
    splits = '[splits]\ntrain = "train.{language}"\nvalid = "valid.{language}"\n'
    path.write_text(f'name = "mine"\ntitle = "t"\nlicence = "mine"\nlanguages = ["de", "en"]\n{splits}')
    return str(path)


def _recipe(card: str, *languages: str, training: dict[str, Any] = DENOISE, **data: Any) -> Recipe:
    mono = [{"language": language, "files": [f"text.{language}"]} for language in languages]
    return make_recipe(
        data={"corpus": card, "source": "de", "target": "en", "mono": mono} | data,
        tokenizer={"vocabulary": 300},
        training=training,
    )


def test_text_stands_behind_the_pairs(card: str) -> None:
    """Its lines are their own translations there, and are counted by themselves; the pairs are as they were."""
    prepared, plain = prepare(_recipe(card, "de", "en")), prepare(_recipe(card, training={}))
    text = prepared.training_text()
    assert text.source[:60] == plain.training_text().source
    assert text.source[60:] == text.target[60:]
    assert (text.source[60], text.source[90]) == ("noch ein Satz 0", "one more sentence 0")
    assert (prepared.parts, prepared.mono) == ([60], [30, 20])
    assert len(prepared.pairs) == 60
    assert len(prepared.train) == 110
    assert prepared.report["train"] == plain.report["train"]
    assert "mono" not in plain.report
    assert prepared.report["mono"]["parts"][0] == {"language": "de", "files": ["text.de"], "lines": 30}
    assert np.array_equal(prepared.pairs.target.lengths, prepared.train.target.lengths[:60])


def test_text_trains_the_tokenizer_which_gets_a_mask(card: str) -> None:
    """A word that only it has is no unknown one, and the mask is one token; without text there is none."""
    (Path(card).parent / "text.en").write_text("the quick zebra\n" * 20)
    tokenizer = prepare(_recipe(card, "en")).tokenizers.source
    assert "<unk>" not in tokenizer.id_to_pieces(tokenizer.encode(["zebra"])[0])
    assert tokenizer.pieces().count(MASK) == 1
    assert MASK not in prepare(_recipe(card, training={})).tokenizers.source.pieces()


def test_text_is_cleaned_like_pairs(card: str) -> None:
    """Every line that is dropped is counted; that both sides are the same is no reason."""
    lines = b"EIN Satz\nein satz\n\nzu viele Worte sind das hier\nmit\x01Zeichen\nS\xff\n"
    (Path(card).parent / "text.de").write_bytes(lines)
    cleaning = {"max_words": 5, "duplicates": "exact", "drop_identical": True}
    with pytest.raises(DataError, match=r"text\.de, line 6: byte 2 \(0xff\) .* data.on_bad_text"):
        prepare(_recipe(card, "de", lowercase=True, cleaning=cleaning))
    prepared = prepare(_recipe(card, "de", lowercase=True, cleaning=cleaning, on_bad_text="skip"))
    assert prepared.training_text().source[60:] == ["ein satz", "mit zeichen"]
    mono = prepared.report["mono"]
    assert (mono["read"], mono["kept"], mono["mended"]) == (6, 2, {"control characters": 1})
    assert mono["dropped"] == {"empty": 1, "too long": 1, "duplicate": 1, "not UTF-8": 1}


def test_test_sentences_in_text_are_found(card: str) -> None:
    """On the side of their language; they are dropped where the recipe says so."""
    (Path(card).parent / "text.en").write_text("question 3\nQuestion 4!\none more\n")
    report = prepare(_recipe(card, "en")).report
    (leak,) = report["found_in_train"]
    assert (leak["source_exact"], leak["target_exact"], leak["target_normalised"]) == (0, 1, 2)
    assert leak["pairs_normalised"] == 0
    dropped = prepare(_recipe(card, "en", cleaning={"drop_leaked": True}))
    assert dropped.training_text().source[60:] == ["one more"]
    assert dropped.report["mono"]["dropped"] == {"in a test set": 2}
    assert dropped.report["train"]["dropped"] == {}


def test_held_out_sentences_are_never_in_text(card: str) -> None:
    """What is held out of the pairs is held out of the text too."""
    text = Path(card).read_text().replace('valid = "valid.{language}"\n', "") + "[holdout]\nvalid = 10\n"
    Path(card).write_text(text)
    (Path(card).parent / "text.en").write_text("".join(f"{target}\n" for _, target in PAIRS))
    prepared = prepare(_recipe(card, "en"))
    assert prepared.report["mono"]["dropped"] == {"in a held-out pair": 10}
    assert not set(prepared.testset("valid").target) & set(prepared.training_text().target)


def test_a_prepared_corpus_depends_on_text_but_not_on_its_place_or_weight(card: str, tmp_path: Path) -> None:
    """Another language or content is another corpus; compressed text and a weight say nothing else."""
    first = prepare(_recipe(card, "de", "en"))
    mono = [
        {"language": "de", "files": [str(tmp_path / "text.de")], "weight": 3},
        {"language": "en", "files": ["text.en"]},
    ]
    assert prepare(_recipe(card, mono=mono)).folder == first.folder
    assert prepare(_recipe(card, "de", "en", training={"objective": "mass"}, weight=0)).folder == first.folder
    assert prepare(_recipe(card, "en", "de")).folder != first.folder
    assert prepare(_recipe(card, training={})).folder != first.folder
    packed = tmp_path / "text.en.gz"
    packed.write_bytes(gzip.compress((tmp_path / "text.en").read_bytes()))
    (tmp_path / "text.en").unlink()
    assert prepare(_recipe(card, "de", "en")).training_text().source == first.training_text().source


def test_text_is_found_beside_the_recipe_the_card_and_in_the_data_folder(
    card: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As corpora are; a saved recipe names it relative to its folder; a missing file is one line."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "text.en").write_text("beside the recipe\n")
    (elsewhere / "recipe.toml").write_text(recipe_to_toml(_recipe(card, "en", "de")))
    recipe = load_recipe(elsewhere)
    assert recipe.data.mono[0].files == (str(elsewhere / "text.en"),)
    assert recipe.data.mono[1].files == ("text.de",)
    assert prepare(recipe).training_text().source[60] == "beside the recipe"
    run_folder = elsewhere / "runs" / "m"
    run_folder.mkdir(parents=True)
    (run_folder / "recipe.toml").write_text(recipe_to_toml(recipe, run_folder))
    assert str(elsewhere / "text.en") not in (run_folder / "recipe.toml").read_text()
    assert load_recipe(run_folder).data.mono == recipe.data.mono
    (tmp_path / "text.de").rename(elsewhere / "text.de")
    with pytest.raises(
        DataError, match=r"data\.mono: there is no text\.de, beside the recipe, beside its card or under"
    ):
        prepare(_recipe(card, "de"))
    monkeypatch.setenv("NMT_DATA", str(elsewhere))
    assert prepare(_recipe(card, "de")).mono == [30]


@pytest.mark.parametrize("place", ["recipe", "card", "data"])
def test_packed_text_is_found_by_its_plain_name(
    card: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Beside the recipe as elsewhere, and from the recipe that a run has saved."""
    folders = {"recipe": tmp_path / "mine", "card": tmp_path, "data": tmp_path / "all"}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    (folders[place] / "web.de.xz").write_bytes(lzma.compress(b"eine Zeile\n"))
    monkeypatch.setenv("NMT_DATA", str(tmp_path / "all"))
    written = recipe_to_toml(_recipe(card, mono=[{"language": "de", "files": ["web.de"]}]))
    (tmp_path / "mine/recipe.toml").write_text(written)
    recipe = load_recipe(tmp_path / "mine")
    assert prepare(recipe).training_text().source[60:] == ["eine Zeile"]
    saved = tmp_path / "mine/runs/m"
    saved.mkdir(parents=True)
    (saved / "recipe.toml").write_text(recipe_to_toml(recipe, saved))
    assert load_recipe(saved).data.mono == recipe.data.mono


def test_text_with_nothing_left_is_one_line(card: str, tmp_path: Path) -> None:
    """With the file and the reasons."""
    (tmp_path / "text.de").write_text("\n\n")
    with pytest.raises(DataError, match=r"no line of .*text\.de is left after cleaning \({'empty': 2}\)"):
        prepare(_recipe(card, "de"))


MONO = [{"language": "input", "files": ["text"]}]
BASE = {"corpus": str(LETTERS), "source": "input", "target": "output"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "language": (
        {"data": {"mono": [{"language": "fr", "files": ["text"]}]}},
        r"data: mono\.language must be one of input, output, got 'fr'",
    ),
    "no files": ({"data": {"mono": [{"language": "input", "files": []}]}}, r"data\.mono\.0\.files: must have an entry"),
    "no text": ({"training": DENOISE}, r"training\.objective = 'denoise' needs text: add \[\[data\.mono\]\]"),
    "no pairs": ({"data": {"weight": 0}}, r"data\.weight = 0 leaves no pairs to train on"),
    "patience": (
        {"data": {"mono": MONO, "weight": 0}, "training": DENOISE | {"patience": 2}},
        r"training\.patience waits for better translations, which data\.weight = 0 does not teach",
    ),
    "two vocabularies": (
        {"data": {"mono": MONO}, "tokenizer": {"joint": False}, "training": DENOISE, "model": {"tie": "output"}},
        r"data\.mono needs tokenizer\.joint = true",
    ),
    "bytes": (
        {"data": {"mono": MONO}, "tokenizer": {"kind": "byte"}, "training": DENOISE},
        r"data\.mono needs a token for <mask>",
    ),
    "pictures": (
        {
            "data": {"mono": MONO},
            "model": {"kind": "visual", "base": {"kind": "rnn"}},
            "tokenizer": {"joint": False, "source_kind": "byte"},
            "training": DENOISE,
        },
        r"data\.mono needs words to mask in the source, and model\.kind = 'visual' reads pictures",
    ),
    "noises of another objective": (
        {"data": {"mono": MONO}, "training": {"objective": "mass", "denoising": {"mask": 0.1}}},
        r"training\.denoising is for training\.objective = 'denoise', got 'mass'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_recipe_that_cannot_use_text_is_refused(name: str) -> None:
    """With one line that says what to change, before any work."""
    sections, message = REFUSED[name]
    sections = {"data": {}, **sections}
    with pytest.raises(ConfigError, match=message) as error:
        make_recipe(sections.pop("model", None), **{**sections, "data": BASE | sections["data"]})
    assert "\n" not in str(error.value)


def test_the_report_shows_the_text(card: str, tmp_path: Path) -> None:
    """`nmt prepare` has a table of its own for it."""
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(_recipe(card, "de", "en", training={})))
    result = run("prepare", tmp_path / "recipe.toml")
    assert result.exit_code == 0, result.output
    for part in ("text without translations", "lines read", "de: text.de"):
        assert part in result.output
