"""A run folder is the training's own: files of the user stay, and what is removed on the way is noticed."""

from __future__ import annotations

import os
import shutil
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from typer.testing import Result

from command import run
from nmt import NmtError
from nmt.config.paths import model_root
from nmt.config.reading import load_recipe, recipe_to_toml
from nmt.corpus.prepared import Prepared
from nmt.errors import ConfigError
from nmt.storage.checkpoint import name_of
from nmt.storage.run_folder import RunFolder
from nmt.training.events import Event
from nmt.training.trainer import Trainer
from nmt_data.prepare import prepare
from tiny import make_recipe

NAMES = ("recipe.toml", "log.jsonl", "joint.spm", "source.spm", "model/notes", "checkpoints/notes")


@pytest.mark.parametrize("name", NAMES)
def test_files_of_the_user_stay(tmp_path: Path, name: str) -> None:
    """Training does not begin where it would replace one."""
    (tmp_path / "mine.toml").write_text(recipe_to_toml(make_recipe()))
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    text = f"# this took three weeks to find\n{recipe_to_toml(make_recipe())}"
    place.write_text(text)
    result = run("train", tmp_path / "mine.toml", "--run", tmp_path)
    assert result.exit_code == 1
    assert f"{tmp_path / name.split('/', maxsplit=1)[0]} is there, but no run of nmt" in result.stderr
    assert place.read_text() == text


def test_a_run_that_has_begun_is_gone_on_with(tmp_path: Path, prepared: Prepared) -> None:
    """Also one that was killed before its first line of log, and one whose log has a damaged line."""
    folder = RunFolder(tmp_path)
    folder.create()
    folder.check_owner()
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(make_recipe(), tmp_path))
    prepared.tokenizers.save(tmp_path)
    folder.check_owner()
    folder.log.write_bytes(
        b'{"kind": "start", "step": 0}\n{"kind": "tr\x00in", "step"\n{"kind": "train", "step": 2}\n{"k'
    )
    (tmp_path / "recipe.toml").write_text("# changed since\n")
    folder.check_owner()
    assert [entry["step"] for entry in folder.entries()] == [0, 2]
    folder.trim_log(1)
    assert folder.log.read_bytes() == b'{"kind": "start", "step": 0}\n'


class _Own:
    """A run of four updates on a corpus in a folder, whose text can change."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.run, self.recipe = folder, folder / "run", folder / "mine.toml"
        self.write("ab")
        splits = "".join(f'{name} = "{name}.{{language}}"\n' for name in ("train", "valid"))
        head = 'name = "m"\ntitle = "m"\nlicence = "own"\nlanguages = ["input", "output"]\n'
        (folder / "card.toml").write_text(f"{head}[splits]\n{splits}")
        data = {"corpus": "card.toml", "source": "input", "target": "output"}
        training = {"updates": 4, "validate_every": 2, "keep": 2}
        recipe = make_recipe({"kind": "rnn", "embedding": 4, "hidden": 4}, data=data, training=training)
        self.recipe.write_text(recipe_to_toml(recipe))

    def write(self, letters: str) -> None:
        """Writes the corpus anew, of words with these letters."""
        for name, language in product(("train", "valid"), ("input", "output")):
            lines = (f"{letters * (row % 5 + 1)} {letters[::-1] * (row % 3 + 1)} {name} {row}\n" for row in range(40))
            (self.folder / f"{name}.{language}").write_text("".join(lines))

    def train(self, *options: str | Path) -> Result:
        """Runs the command."""
        return run("train", self.recipe, "--run", self.run, "--device", "cpu", *options)

    def files(self) -> dict[str, bytes]:
        """The recipe and tokenizers of the run."""
        return {path.name: path.read_bytes() for path in self.run.glob("*.*") if path.suffix in (".toml", ".spm")}


def test_a_training_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    """Neither recipe nor tokenizers, so the checkpoints can still be read; what needs the old corpus says that it is gone."""
    own = _Own(tmp_path / "own")
    done = own.train()
    assert done.exit_code == 0, done.stderr
    before = own.files()
    assert "trained further than" in own.train("--set", "training.updates=1").stderr
    assert own.files() == before
    own.write("cd")
    assert "was trained on another corpus or tokenizer" in own.train("--set", "training.updates=6").stderr
    told = run("doctor", own.recipe, "--run", own.run, "--no-probe", "--device", "cpu")
    assert (told.exit_code, "was trained on another corpus" in " ".join(told.stdout.split())) == (1, True)
    assert own.files() == before
    assert run("info", own.run, "--latest").exit_code == 0
    assert "its corpus has changed since" in run("shortlist", own.run, "--output", tmp_path / "list").stderr
    prepare(load_recipe(own.recipe)).tokenizers.save(own.run)
    for verb in (("average", own.run, "--output", tmp_path / "mean"), ("info", own.run, "--latest")):
        assert "the tokenizer is not the one that" in run(*verb).stderr
    assert not (tmp_path / "mean").exists()


def test_a_checkpoint_is_a_model_by_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative, from the folder that it lies in, and from inside."""
    own = _Own(tmp_path / "own")
    assert own.train().exit_code == 0
    monkeypatch.chdir(own.run / "checkpoints")
    assert run("info", "step-00000004").exit_code == 0
    monkeypatch.chdir("step-00000004")
    assert run("info", ".").exit_code == 0
    assert model_root(Path()) == own.run


def test_a_folder_of_any_bytes_can_be_trained_in(tmp_path: Path) -> None:
    """A run beside such a corpus is one as any other; elsewhere it is refused before the first update, as TOML is UTF-8."""
    own = _Own(tmp_path / os.fsdecode(b"caf\xe9"))
    assert own.train().exit_code == 0
    assert own.train().exit_code == 0
    with TemporaryDirectory(dir="/var/tmp") as place:
        refused = own.train("--run", place)
        assert refused.exit_code == 1
        assert "a path that is not UTF-8" in refused.stderr


def test_the_doctor_says_what_a_training_cannot_start_from(tmp_path: Path) -> None:
    """As the training does, but before it."""
    own = _Own(tmp_path / "own")
    assert own.train().exit_code == 0
    changed = ("--set", f"training.initialise={own.run}", "--set", "model.hidden=8")
    said = "cannot start this model: it has model.hidden = 4, the recipe says 8"
    told = run("doctor", own.recipe, "--run", tmp_path / "new", "--no-probe", "--device", "cpu", *changed)
    assert (told.exit_code, said in " ".join(told.stdout.split())) == (1, True)
    assert said in own.train("--run", tmp_path / "new", *changed).stderr


@pytest.mark.parametrize("when", ["train", "validation"])
def test_a_folder_that_is_removed_while_it_is_trained(tmp_path: Path, prepared: Prepared, when: str) -> None:
    """One line; nothing is written that would look like a run."""
    folder = tmp_path / "run"

    def remove(event: Event) -> None:
        if event.kind == when:
            shutil.rmtree(folder)

    with pytest.raises(NmtError, match="is gone"):
        Trainer(make_recipe(), prepared, folder, torch.device("cpu"), remove).run()
    assert not folder.exists()


def test_processes_that_train_together_do_not_move_a_run_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of those that torchrun starts would move it, and one would move what another has begun."""
    folder, recipe = RunFolder(tmp_path / "run"), make_recipe()
    folder.path.mkdir()
    (folder.path / "recipe.toml").write_text(recipe_to_toml(recipe))
    (folder.checkpoints / name_of(6)).mkdir(parents=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not folder.set_aside(recipe)
    with pytest.raises(ConfigError, match=r"run was trained with seed \(was 1, now 2\): move it away"):
        folder.set_aside(recipe.model_copy(update={"seed": 2}))
    assert folder.checkpoints.exists()
