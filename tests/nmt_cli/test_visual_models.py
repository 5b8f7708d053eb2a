"""A model that reads pictures, from a recipe to a translation, a picture of what it looks at, and another folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import matplotlib
import pytest
from PIL import Image

from command import run
from nmt.config.reading import load_recipe, recipe_to_toml
from nmt.errors import ConfigError, DataError
from nmt.storage.integrity import write_checkpoint_manifest
from nmt.translation.loading import load
from nmt_data.prepare import prepare
from tiny import make_recipe

FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
DATA = {"corpus": "phrasebook", "source": "de", "target": "en", "limit": 300}
BASE = {"kind": "transformer", "width": 32, "feed_forward": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}
LINES = "Der Hund schläft.\n\nDas 猫 rennt schnell.\n"


def _recipe(folder: Path, **model: object) -> Path:
    """A recipe file with a font of its own beside it."""
    shutil.copyfile(FONTS / "DejaVuSerif.ttf", folder / "mine.ttf")
    settings = {"kind": "visual", "image_encoder": "cnn", "spatial_attention": "cbam", "font": "mine.ttf", **model}
    recipe = make_recipe(
        {**settings, "base": {**BASE, "tie": "output"}},
        data=DATA,
        tokenizer={"kind": "bpe", "vocabulary": 300},
        training={"updates": 4, "batch_tokens": 400, "validate_every": 2, "typos": 0.1},
    )
    path = folder / "recipe.toml"
    path.write_text(recipe_to_toml(recipe))
    return path


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


@pytest.fixture(scope="module")
def visual(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of such a model."""
    folder = tmp_path_factory.mktemp("visual")
    made = run("train", _recipe(folder), "--run", folder / "run")
    assert made.exit_code == 0, made.output
    return folder / "run"


def test_a_visual_model_translates_any_line(visual: Path) -> None:
    """Blank lines stay blank, every other line has a translation, and letters that the font lacks are counted."""
    done = run("translate", visual, stdin=LINES.encode())
    assert done.exit_code == 0, done.output
    assert len(done.stdout.split("\n")) == 4
    assert done.stdout.split("\n")[1] == ""
    assert "1 lines held characters that this computer or the model's font cannot draw" in done.stderr


def test_the_font_travels_with_the_model(visual: Path, tmp_path: Path) -> None:
    """A bundle in another folder, without the font file of its recipe, translates as before; a changed font is damage."""
    shutil.copytree(visual / "model", tmp_path / "model")
    hidden = visual.parent / "mine.ttf"
    hidden.rename(visual.parent / "away.ttf")
    try:
        here, there = load(visual), load(tmp_path / "model")
        assert load_recipe(tmp_path / "model").model.model_dump()["font"] == str(tmp_path / "model" / "font")
        assert here.translate(LINES.split("\n")) == there.translate(LINES.split("\n"))
    finally:
        (visual.parent / "away.ttf").rename(hidden)
    (tmp_path / "model" / "font").write_bytes((FONTS / "DejaVuSans.ttf").read_bytes())
    refused = run("translate", tmp_path / "model", stdin=LINES.encode())
    assert refused.exit_code == 1
    assert "damaged" in refused.stderr


def test_a_run_goes_on_with_its_font_only(visual: Path, tmp_path: Path) -> None:
    """The same recipe resumes; with another font it would be another model."""
    shutil.copytree(visual, tmp_path / "run")
    recipe = visual.parent / "recipe.toml"
    more = run("train", recipe, "--run", tmp_path / "run", "--set", "training.updates=6")
    assert more.exit_code == 0, more.output
    other = run("train", recipe, "--run", tmp_path / "run", "--set", f"model.font={FONTS / 'DejaVuSans.ttf'}")
    assert other.exit_code == 1
    assert "model.font (was" in other.stderr


def test_attention_is_drawn_over_the_line(visual: Path, tmp_path: Path) -> None:
    """Beside the heat map of words: PNG and SVG, with a row for the weights of places; words of the source are readable."""
    done = run("attend", visual, "--plot", tmp_path, stdin=LINES.replace("猫", "Kind").encode())
    assert done.exit_code == 0, done.output
    assert "schläft." in done.stdout
    names = {path.name for path in tmp_path.iterdir()}
    assert {"1.png", "1.line.png", "1.line.svg", "3.line.png"} <= names
    assert "places" in (tmp_path / "1.line.svg").read_text()
    assert _size(tmp_path / "1.line.png")[0] > 300


def test_the_sources_of_an_update_can_be_seen(visual: Path, tmp_path: Path) -> None:
    """The picture has a strip for each line; a model that reads tokens has none."""
    picture = tmp_path / "seen.png"
    shown = run("data", "show", visual, "--step", "2", "--rendered", picture)
    assert shown.exit_code == 0, shown.output
    assert _size(picture)[1] == 14 * len(shown.stdout.splitlines())
    refused = run("data", "show", visual, "--step", "1", "--rendered", picture, "--set", "model={kind='rnn'}")
    assert refused.exit_code == 1
    assert "--rendered is for models that read pictures" in refused.stderr
    assert "end its name with .png" in run("data", "show", visual, "--step", "1", "--rendered", "seen.gif").stderr


def test_training_needs_a_glyph_for_each_letter(home: Path, tmp_path: Path) -> None:
    """Before any work: the first letter that is missing, how many lines have one, and what to do."""
    path = _recipe(tmp_path, font=str(FONTS / "cmex10.ttf"))
    with pytest.raises(DataError, match=r"cmex10.ttf cannot show '.' \(U\+00.*\).*training lines hold; set model.font"):
        prepare(load_recipe(path))
    with pytest.raises(ConfigError, match=r"model.font: .*none.ttf: No such file"):
        prepare(load_recipe(path, [f"model.font={tmp_path / 'none.ttf'}"]))


def test_another_drawing_is_told(visual: Path, tmp_path: Path) -> None:
    """A model knows how its letters looked; a computer that draws them otherwise says so, once."""
    moved = tmp_path / "moved"
    shutil.copytree(visual / "model", moved)
    card = json.loads((moved / "card.json").read_text("utf-8"))
    (tmp_path / "line").write_text("der Hund\n", encoding="utf-8")
    assert "draws letters otherwise" not in run("translate", moved, tmp_path / "line").stderr
    (moved / "card.json").write_text(json.dumps({**card, "drawing": "0" * 16}), encoding="utf-8")
    write_checkpoint_manifest(moved)
    assert run("translate", moved, tmp_path / "line").stderr.count("draws letters otherwise") == 1


def test_exports_refuse_pictures(visual: Path, tmp_path: Path) -> None:
    """Other engines read tokens; one line says so."""
    for kind in ("ctranslate2", "huggingface"):
        refused = run("export", visual, "--output", tmp_path / kind, "--to", kind)
        assert refused.exit_code == 1
        assert "visual" in refused.stderr
        assert "Traceback" not in refused.output


def test_noise_misspells_a_stream() -> None:
    """As many lines come out as go in; bytes that are no text are replaced, and an unknown noise has a suggestion."""
    done = run("data", "noise", "swap", "--share", "1", stdin=b"Guten Tag\n\nWie \xff geht es?\n")
    assert done.exit_code == 0, done.output
    assert len(done.stdout.split("\n")) == 4
    assert done.stdout.split("\n")[0] not in ("", "Guten Tag")
    assert "did you mean leet?" in run("data", "noise", "leat").stderr
