"""A path in a recipe means the same from every folder, and text of people's editors is read as it is meant."""

from __future__ import annotations

import codecs
import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command import run
from nmt.config.reading import load_recipe, recipe_to_toml
from nmt.config.toml import read_toml
from nmt.errors import ConfigError, DataError
from nmt.experiments.expectations import load_expectations
from nmt.experiments.study import load_study
from nmt_data.cards import load_card
from tiny import make_recipe

_CARD = 'name = "m"\ntitle = "m"\nlicence = "m"\nlanguages = ["input", "output"]\n[splits]\n'
_SPLITS = "".join(f'{name} = "{name}.{{language}}"\n' for name in ("train", "valid", "test"))
_DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a recipe beside its card and its text."""
    folder = tmp_path / "my project ü"
    folder.mkdir()
    for path in _DATA.glob("*put"):
        shutil.copy(path, folder)
        shutil.copy(path, folder / path.name.replace("valid", "test"))
    (folder / "mine.toml").write_text(_CARD + _SPLITS)
    recipe = make_recipe(data={"corpus": "mine.toml", "source": "input", "target": "output"}, training={"updates": 3})
    (folder / "recipe.toml").write_text(recipe_to_toml(recipe))
    return folder


def _corpus(recipe: Path, *overrides: str) -> str:
    return load_recipe(recipe, overrides).data.corpus


def test_a_card_is_looked_for_beside_its_recipe_first(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then in the current folder; what `--set` says is looked for there first, since it was written there."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder in (elsewhere, project, tmp_path):
        monkeypatch.chdir(folder)
        assert _corpus(project / "recipe.toml") == str(project / "mine.toml")
        assert _corpus(project) == str(project / "mine.toml")
        assert _corpus(project, "data.corpus=mine.toml") == str(project / "mine.toml")
    for name in ("mine.toml", "other.TOML"):
        shutil.copy(project / "mine.toml", elsewhere / name)
    monkeypatch.chdir(elsewhere)
    assert _corpus(project) == str(project / "mine.toml")
    assert _corpus(project, "data.corpus=mine.toml") == str(elsewhere / "mine.toml")
    assert _corpus(project, "data.corpus=other.TOML") == str(elsewhere / "other.TOML")
    assert _corpus(project, "data.corpus=none.toml") == "none.toml"
    assert _corpus(project, "data.corpus=copy") == "copy"


def test_further_cards_and_the_model_to_start_from_are_found_too(project: Path) -> None:
    """Whatever a recipe names by a path."""
    (project / "base").mkdir()
    more = 'more = [{corpus = "mine.toml", source = "input", target = "output"}]'
    text = (project / "recipe.toml").read_text()
    (project / "recipe.toml").write_text(text.replace("more = []", more))
    found = load_recipe(project, ["training.initialise=base"])
    assert [part.corpus for part in found.data.more] == [str(project / "mine.toml")]
    assert found.training.initialise == str(project / "base")


def test_a_saved_recipe_finds_its_card_from_any_folder_and_after_a_move(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run and project move together, or a copied bundle is used within the project; no path of the machine is in it."""
    run_folder = project / "runs" / "m"
    run_folder.mkdir(parents=True)
    text = recipe_to_toml(load_recipe(project), run_folder)
    assert str(tmp_path) not in text
    (run_folder / "recipe.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert _corpus(run_folder) == str(project / "mine.toml")
    moved = project.rename(tmp_path / "moved")
    assert _corpus(moved / "runs" / "m") == str(moved / "mine.toml")
    shutil.copytree(moved / "runs" / "m", tmp_path / "copy")
    monkeypatch.chdir(moved)
    assert _corpus(tmp_path / "copy") == str(moved / "mine.toml")


@pytest.mark.slow
def test_a_run_is_evaluated_from_any_folder_and_after_a_move(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run, bundle, and the project as a whole somewhere else; a copied bundle from within the project."""
    monkeypatch.chdir(project)
    assert run("train", "recipe.toml", "--run", "runs/m").exit_code == 0
    assert str(tmp_path) not in (project / "runs/m/model/recipe.toml").read_text()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    moved = project.rename(tmp_path / "moved")
    for model in ("runs/m", "runs/m/checkpoints/step-00000003"):
        result = run("evaluate", moved / model, "--metric", "bleu")
        assert result.exit_code == 0, result.output
        assert "test: " in result.output
    shutil.copytree(moved / "runs/m/model", tmp_path / "elsewhere/copy")
    monkeypatch.chdir(moved)
    assert run("evaluate", tmp_path / "elsewhere/copy", "--metric", "bleu").exit_code == 0
    again = run("train", "recipe.toml", "--run", "runs/m", "--set", "training.updates=4")
    assert again.exit_code == 0, again.output
    assert "going on from update 3" in again.output


def test_a_card_that_is_not_there_says_where_it_was_looked_for(project: Path) -> None:
    """The error for a missing card names its path and both folders that were searched."""
    result = run("prepare", project / "recipe.toml", "--set", "data.corpus=runs/none.toml")
    assert result.exit_code == 1
    assert "data.corpus: there is no runs/none.toml, beside the recipe or here" in result.output


@settings(max_examples=20, deadline=None)
@given(name=st.text(max_size=300), end=st.sampled_from(["", ".toml"]))
def test_no_path_is_a_traceback(name: str, end: str) -> None:
    """Whatever text stands where a card should be named."""
    with pytest.raises(DataError, match=r"data\.corpus: "):
        load_card(f"no {name}{end}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.updates=0"], "training.updates=0: training.updates: input should be"),
        (["model.widht=3", "seed=2"], "model.widht=3: unknown key model.widht (did you mean width?)"),
        (["seed=2", "model.width=30", "model.heads=4"], "model.width=30, model.heads=4: model: heads must"),
        (["model=5"], "model=5: model"),
        (["training.average=9"], "training.average=9: training.keep must be at least"),
    ],
)
def test_an_error_of_an_override_names_it(project: Path, overrides: list[str], message: str) -> None:
    """Not the file, which is right."""
    with pytest.raises(ConfigError) as error:
        load_recipe(project, overrides)
    assert str(error.value).startswith(message)
    assert "recipe.toml" not in str(error.value)


def test_an_error_of_the_file_names_the_file(project: Path) -> None:
    """Beside overrides that are right, and beside one that is wrong."""
    text = (project / "recipe.toml").read_text()
    (project / "recipe.toml").write_text(text.replace("width = 32", "width = 32\nwidht = 3"))
    with pytest.raises(ConfigError) as error:
        load_recipe(project, ["seed=3", "training.updates=0"])
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{project / 'recipe.toml'}: unknown key model.widht")
    assert lines[1].startswith("training.updates=0: ")


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_toml_is_read_as_any_editor_saves_it(tmp_path: Path, mark: bytes, end: str) -> None:
    """Recipes, cards, studies and expectations, with a byte-order mark, and with line ends of any system."""
    recipe = recipe_to_toml(make_recipe())
    study = 'title = "ü"\ntestset = "test"\n[[systems]]\nname = "a"\n'
    expected = '[{"testset": "t", "signature": "s", "mean": 1, "band": 1, "origin": "o"}]\n'
    texts = {"recipe.toml": recipe, "card.toml": _CARD + _SPLITS, "study.toml": study, "expected.json": expected}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(mark + text.replace("\n", end).encode())
    assert load_recipe(tmp_path) == make_recipe()
    assert load_card(str(tmp_path / "card.toml")).splits["train"] == "train.{language}"
    assert load_study(tmp_path).title == "ü"
    assert load_expectations(tmp_path)[0].testset == "t"


@given(data=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_bytes_that_are_no_toml_are_one_line(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """They are read, or refused with the name of the file."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    refused = pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: ")
    with suppress(pytest.fail.Exception), refused:
        read_toml(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x = " + b"[" * 100_000, "nested too deeply"),
        (b"x = " + b"1" * 100_000, ""),
        (codecs.BOM_UTF16_LE + 'x = "y"'.encode("utf-16-le"), "byte 1 is not valid UTF-8; save the file as UTF-8"),
        (b"#" * 10_000_001, "larger than 10 MB"),
    ],
)
def test_toml_that_nobody_wrote_by_hand_is_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    """TOML that is too deep, too large, in another encoding or a folder is a configuration error."""
    (tmp_path / "x.toml").write_bytes(data)
    with pytest.raises(ConfigError, match=f"x.toml: .*{message}"):
        read_toml(tmp_path / "x.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_toml(tmp_path)


def test_one_place_reads_toml() -> None:
    """No other file of the packages does, but for the value of an override."""
    root = Path(__file__).parents[3]
    users = {
        path.name
        for part in ("nmt", "data", "cli")
        for path in (root / part).rglob("*.py")
        if "tomllib." in path.read_text()
    }
    assert users == {"toml.py", "reading.py"}
