"""A prepared corpus is that of the files, the card and the recipe as they are, whole; else it is made again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nmt.config.recipe import Recipe
from nmt.corpus.prepared import Prepared
from nmt.errors import DataError
from nmt.runtime.files import file_sha256
from nmt.storage.manifest import folder_damage, write_folder_manifest
from nmt_data import prepare as module
from nmt_data.prepare import prepare
from tiny import make_recipe

_LAYOUTS = [
    "{language}/NAME.txt",
    "NAME/{language}.txt",
    "{language}/NAME/text",
    "NAME.{language}",
    "a/{language}.NAME",
]
_SPLITS = ("train", "valid", "test")


def _write(folder: Path, layout: str, name: str, language: str, lines: list[str]) -> None:
    path = folder / layout.replace("NAME", name).replace("{language}", language)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def _project(folder: Path, layout: str = _LAYOUTS[0], card: str = "", name: str = "card.toml") -> Recipe:
    """A corpus of three splits in that layout, its card, and a recipe for it."""
    folder.mkdir(exist_ok=True)
    for split in _SPLITS:
        for language, words in (("de", "Satz Nummer"), ("en", "sentence number")):
            _write(folder, layout, split, language, [f"{split} {words} {index}" for index in range(12)])
    splits = "".join(f'{split} = "{layout.replace("NAME", split)}"\n' for split in _SPLITS)
    (folder / name).write_text(
        f'name = "m"\ntitle = "m"\nlicence = "m"\nlanguages = ["de", "en"]\n{card}\n[splits]\n{splits}'
    )
    return make_recipe(data={"corpus": str(folder / name), "source": "de", "target": "en"})


def _texts(prepared: Prepared) -> dict[str, tuple[list[str], list[str]]]:
    found = {"train": prepared.training_text()} | {name: prepared.testset(name) for name in ("valid", "test")}
    return {name: (testset.source, testset.target) for name, testset in found.items()}


def _bytes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("report.json", "MANIFEST.json")
    }


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layout=st.sampled_from(_LAYOUTS), split=st.sampled_from(_SPLITS), side=st.integers(0, 1), row=st.integers(0, 11))
def test_a_change_of_any_file_is_seen_in_any_layout(
    tmp_path_factory: pytest.TempPathFactory, layout: str, split: str, side: int, row: int
) -> None:
    """Whatever files and folders are called, what is prepared is what they hold."""
    folder = tmp_path_factory.mktemp("project")
    recipe = _project(folder, layout)
    expected = _texts(prepare(recipe))
    expected[split][side][row] = "anders"
    _write(folder, layout, split, ("de", "en")[side], expected[split][side])
    assert _texts(prepare(recipe)) == expected


def test_files_that_change_places_are_seen(tmp_path: Path) -> None:
    """Two splits that are exchanged, or two languages, are other corpora: of the same files by the same names."""
    recipe = _project(tmp_path)
    first = _texts(prepare(recipe))
    (tmp_path / "de").rename(tmp_path / "x")
    (tmp_path / "en").rename(tmp_path / "de")
    (tmp_path / "x").rename(tmp_path / "en")
    assert _texts(prepare(recipe)) == {name: (target, source) for name, (source, target) in first.items()}
    for language in ("de", "en"):
        (tmp_path / language / "valid.txt").rename(tmp_path / "x")
        (tmp_path / language / "test.txt").rename(tmp_path / language / "valid.txt")
        (tmp_path / "x").rename(tmp_path / language / "test.txt")
    assert _texts(prepare(recipe))["valid"] == (first["test"][1], first["test"][0])


@pytest.mark.parametrize(
    ("line", "is_learnt"), [('tokenize = "zh"', True), ('title = "x"', False), ('licence = "x"', False)]
)
def test_a_change_of_the_card_is_seen(tmp_path: Path, line: str, is_learnt: bool) -> None:
    """The report says what the card says; a training goes on if what it learns from and is chosen by is the same."""
    recipe = _project(tmp_path)
    first = prepare(recipe)
    card = (tmp_path / "card.toml").read_text()
    key = line.split(maxsplit=1)[0]
    (tmp_path / "card.toml").write_text(
        "\n".join([line, *(row for row in card.splitlines() if not row.startswith(key))])
    )
    again = prepare(recipe)
    if key in again.report:
        assert again.report[key] == line.split('"')[1]
    assert (again.fingerprint != first.fingerprint) == is_learnt


def test_a_test_set_that_is_added_is_there_and_the_training_goes_on(tmp_path: Path) -> None:
    """What is trained on is the same corpus; the new test set is found by its name."""
    recipe = _project(tmp_path)
    first = prepare(recipe)
    for language in ("de", "en"):
        shutil.copy(tmp_path / language / "test.txt", tmp_path / language / "late.txt")
    with (tmp_path / "card.toml").open("a") as card:
        card.write('late = "{language}/late.txt"\n')
    again = prepare(recipe)
    assert again.testset("late").source == again.testset("test").source
    assert again.fingerprint == first.fingerprint


def test_the_same_corpus_elsewhere_is_the_same(tmp_path: Path) -> None:
    """Neither where a project lies nor what its card is called decides."""
    first = prepare(_project(tmp_path / "one"))
    second = prepare(_project(tmp_path / "two", name="other.toml"))
    assert first.folder == second.folder


def test_a_corpus_that_changes_while_it_is_read_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else new text would lie under the name of the old."""
    recipe = _project(tmp_path, card='citation = "its own"')
    inner = module.TextReader.read

    def read(*arguments: Any) -> Any:
        _write(tmp_path, _LAYOUTS[0], "train", "de", ["anders"] * 12)
        return inner(*arguments)

    monkeypatch.setattr(module.TextReader, "read", read)
    with pytest.raises(DataError, match="corpus m was changed while it was read; start again"):
        prepare(recipe)
    monkeypatch.undo()
    assert _texts(prepare(recipe))["train"][0] == ["anders"] * 12


def _harm(path: Path, kind: str, place: float) -> None:
    data = path.read_bytes()
    at = int(place * (len(data) - 1))
    match kind:
        case "gone":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(data[:at])
        case "longer":
            path.write_bytes(data + b"\n")
        case "folder":
            path.unlink()
            path.mkdir()
        case _:
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def _is_whole_json(path: Path) -> bool:
    """Whether a file is JSON but for white space around it, as before."""
    return path.is_file() and path.read_bytes().strip().startswith(b"{") and path.read_bytes().strip().endswith(b"}")


_FILES = [
    "train.arrow", "valid.arrow", "joint.spm", "train.source", "train.target", "report.json", "MANIFEST.json",
    "testsets/valid.source", "testsets/test.target",
]  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(_FILES),
    kind=st.sampled_from(["gone", "empty", "cut", "longer", "folder", "flipped"]),
    place=st.floats(0, 1),
)
def test_what_is_broken_is_made_again(
    tmp_path_factory: pytest.TempPathFactory, name: str, kind: str, place: float
) -> None:
    """Any file that is gone, cut or altered is noticed, said, and comes back to the byte; what is whole is kept."""
    folder = tmp_path_factory.getbasetemp() / "shared"
    recipe = _project(folder)
    first = prepare(recipe)
    before, fingerprint = _bytes(first.folder), first.fingerprint
    sound = (first.folder / name).read_bytes()
    _harm(first.folder / name, kind, place)
    if name == "MANIFEST.json" and kind in ("cut", "longer") and _is_whole_json(first.folder / name):
        (first.folder / name).write_bytes(sound)
        assume(False)  # white space at its end means nothing
    said: list[str] = []
    again = prepare(recipe, said.append)
    assert "is damaged (" in said[0]
    assert "it is made again" in said[0]
    assert (again.folder, again.fingerprint, _bytes(again.folder)) == (first.folder, fingerprint, before)
    said.clear()
    prepare(recipe, said.append)
    assert said == []


def test_folders_that_are_gone_are_made_again(tmp_path: Path) -> None:
    """Cleaners take folders too, or leave empty ones."""
    recipe = _project(tmp_path)
    first = prepare(recipe)
    before = _bytes(first.folder)
    shutil.rmtree(first.folder / "testsets")
    assert _bytes(prepare(recipe).folder) == before
    shutil.rmtree(first.folder)
    first.folder.mkdir()
    assert _bytes(prepare(recipe).folder) == before


def test_files_that_are_not_ours_do_not_matter(tmp_path: Path) -> None:
    """A file browser's notes make nothing anew, and are no test sets."""
    recipe = _project(tmp_path)
    first = prepare(recipe)
    (first.folder / ".DS_Store").touch()
    (first.folder / "testsets" / "mine.source").touch()
    said: list[str] = []
    assert prepare(recipe, said.append).testsets() == ["test", "valid"]
    assert said == []


def test_large_files_are_looked_through_before_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere their size is enough."""
    (tmp_path / "large").write_bytes(b"abc")
    write_folder_manifest(tmp_path)
    (tmp_path / "large").write_bytes(b"abd")
    assert folder_damage(tmp_path) == "large was altered"
    monkeypatch.setattr("nmt.storage.manifest.LARGE", 3)
    assert folder_damage(tmp_path) is None
    assert folder_damage(tmp_path, thorough=True) == "large was altered"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 5, "fingerprint": ""}', '{"files": {}}', "[" * 100_000])
def test_a_manifest_that_is_none_is_one_line(tmp_path: Path, text: str) -> None:
    """A malformed manifest is reported in one line instead of raising an exception."""
    (tmp_path / "MANIFEST.json").write_text(text)
    assert folder_damage(tmp_path) in ("MANIFEST.json cannot be read", "MANIFEST.json was altered")
