"""Checkpoints and bundles: back as they went, refused when they are not what they should be."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from nmt.config.recipe import TrainingConfig
from nmt.errors import CheckpointError, NmtError
from nmt.models import build_model
from nmt.runtime.atomic import atomic_folder, atomic_write
from nmt.storage import bundle as bundles
from nmt.storage import checkpoint as store
from nmt.storage import integrity
from nmt.training.adam import Optimizer
from nmt.training.optim import make_optimizer
from tiny import make_recipe


def _trained() -> tuple[torch.nn.Module, Optimizer]:
    torch.manual_seed(0)
    model = build_model(make_recipe().model, 20, 20)
    optimizer = make_optimizer(model, TrainingConfig())
    source = torch.randint(4, 20, (3, 5))
    model.output(model(source, torch.full((3,), 5), source)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def test_weights_and_optimizer_come_back(tmp_path: Path) -> None:
    """To the bit, keyed by parameter name; a shared matrix is stored once."""
    model, optimizer = _trained()
    path = store.save_checkpoint(tmp_path, store.Snapshot.of(model, optimizer), {"step": 3})
    other = build_model(make_recipe().model, 20, 20)
    fresh = make_optimizer(other, TrainingConfig())
    assert store.load_checkpoint(path, other, fresh) == {"step": 3}
    for (name, mine), (_, theirs) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(mine, theirs), name
        assert optimizer.state[mine].keys() == fresh.state[theirs].keys()
        assert all(torch.equal(optimizer.state[mine][key], fresh.state[theirs][key]) for key in fresh.state[theirs])


@pytest.mark.parametrize("name", [integrity.WEIGHTS, integrity.STATE, store.PROGRESS, integrity.MANIFEST])
@pytest.mark.parametrize("harm", ["truncate", "flip", "remove"])
def test_any_damage_is_found(tmp_path: Path, name: str, harm: str) -> None:
    """A byte too few, a byte altered, a file gone."""
    model, optimizer = _trained()
    path = store.save_checkpoint(tmp_path, store.Snapshot.of(model, optimizer), {"step": 3})
    integrity.verify(path)
    data = bytearray((path / name).read_bytes())
    if harm == "remove":
        (path / name).unlink()
    else:
        if harm == "truncate":
            del data[-1]
        else:
            data[len(data) // 2] ^= 255
        (path / name).write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="damaged"):
        integrity.verify(path)


def test_another_models_weights_are_refused(tmp_path: Path) -> None:
    """Weights are not loaded into a model of another vocabulary size or family."""
    model, optimizer = _trained()
    path = store.save_checkpoint(tmp_path, store.Snapshot.of(model, optimizer), {"step": 3})
    with pytest.raises(CheckpointError, match="another model's weights"):
        store.load_weights(path, build_model(make_recipe().model, 21, 21))
    with pytest.raises(CheckpointError, match="another model's weights"):
        store.load_weights(path, build_model(make_recipe({"kind": "rnn"}).model, 20, 20))


def test_a_bundle_is_read_back_and_checked(trained: Path, tmp_path: Path) -> None:
    """The bundle, the run and the checkpoint are the same model; a bundle with another tokenizer is refused."""
    bundle = bundles.load_model(trained / "model")
    assert bundle.card["parameters"] == bundle.model.parameter_count
    for path in (trained, store.checkpoints(trained / "checkpoints")[-1]):
        other = bundles.load_model(path)
        assert other.tokenizers.fingerprints == bundle.tokenizers.fingerprints
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    spm = copy / "joint.spm"
    from nmt.config.data import TokenizerConfig
    from nmt.corpus.tokenizer import Tokenizer

    Tokenizer.train(["a b c d e f g h"] * 3, TokenizerConfig(kind="word", vocabulary=40)).save(spm)
    with pytest.raises(CheckpointError, match="tokenizer is not the one"):
        bundles.load_model(copy, latest=True)


def test_what_is_no_model_says_so(tmp_path: Path) -> None:
    """Loading from a missing folder or from one without a model is a clear error."""
    with pytest.raises(CheckpointError, match="no such folder"):
        bundles.load_model(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="holds no bundle, run or checkpoint"):
        bundles.load_model(tmp_path)


def test_rotation_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    """Rotation deletes all checkpoints but the two latest and the one with the best score."""
    model, optimizer = _trained()
    for step in range(1, 6):
        store.save_checkpoint(tmp_path, store.Snapshot.of(model, optimizer), {"step": step})
    store.write_best(tmp_path, 1, {"bleu": 3.0})
    store.rotate(tmp_path, 2, store.best_checkpoint(tmp_path))
    assert [path.name for path in store.checkpoints(tmp_path)] == ["step-00000001", "step-00000004", "step-00000005"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    """An exception in the middle: no half folder, the old file untouched; a full disk is one line."""
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "x") as draft:  # noqa: PT012 - it fails half-way
        (draft / "a").write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    atomic_write(tmp_path / "y", b"old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", _no_space)
        with pytest.raises(NmtError, match="no room to write"):
            atomic_write(tmp_path / "y", b"new")
    assert (tmp_path / "y").read_bytes() == b"old"


def _no_space(path: Path, data: bytes) -> int:
    raise OSError(28, "No space left on device")


def test_links_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    """A file is replaced where a link to it points; a pipe is written into."""
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    atomic_write(tmp_path / "link", b"new")
    assert ((tmp_path / "link").is_symlink(), (tmp_path / "file").read_bytes()) == (True, b"new")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    atomic_write(tmp_path / "pipe", b"text")
    assert (os.read(reader, 9), (tmp_path / "pipe").is_fifo()) == (b"text", True)
    os.close(reader)
    with pytest.raises(NmtError, match="is a folder"):
        atomic_write(tmp_path, b"text")


def test_checkpoints_can_be_read_by_others(tmp_path: Path) -> None:
    """Files are readable as the umask allows, and the manifest lists each."""
    model, optimizer = _trained()
    path = store.save_checkpoint(tmp_path, store.Snapshot.of(model, optimizer), {"step": 1})
    manifest = json.loads((path / integrity.MANIFEST).read_text())
    assert set(manifest) == {integrity.WEIGHTS, integrity.STATE, store.PROGRESS}
    assert {file.stat().st_mode & 0o444 for file in path.iterdir()} == {0o444}


def test_the_first_of_two_that_make_the_same_folder_stays(tmp_path: Path) -> None:
    """A corpus that another process has prepared meanwhile, and may be reading, is not taken away."""
    final = tmp_path / "corpus"
    with atomic_folder(final, keep=lambda there: (there / "theirs").exists()) as draft:
        (draft / "mine").touch()
        final.mkdir()
        (final / "theirs").touch()
    assert [path.name for path in final.iterdir()] == ["theirs"]
    assert list(tmp_path.iterdir()) == [final]
