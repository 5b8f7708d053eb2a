"""A run folder is the training's own: files of the user stay, and what is removed on the way is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from command import run
from nmt import NmtError
from nmt.config.reading import recipe_to_toml
from nmt.corpus.prepared import Prepared
from nmt.storage.run_folder import RunFolder
from nmt.training.events import Event
from nmt.training.trainer import Trainer
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
