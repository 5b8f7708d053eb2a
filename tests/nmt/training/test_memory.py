"""What does not fit into memory is halved, and automatic batches are as large as fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nmt.config.recipe import TrainingConfig
from nmt.corpus.prepared import Prepared
from nmt.models.visual.image import inked
from nmt.training import rehearsal
from nmt.training.arithmetic import Arithmetic
from nmt.training.batches import collate
from nmt.training.events import logged
from nmt.training.trainer import Trainer
from nmt.training.updater import Updater
from nmt_data.prepare import prepare
from tiny import make_batch, make_model, make_recipe
from updating import copying_batch, make_updater, remove_dropout

CPU = torch.device("cpu")


EXACT = Arithmetic("fp32", onednn=False)


@pytest.mark.parametrize("name", ["transformer", "additive", "bottleneck"])
def test_a_batch_that_does_not_fit_is_halved(name: str, prepared: Prepared) -> None:
    """The same gradients as in one piece, also where memory ran out in the middle of a backward pass; counted."""
    batch = collate(prepared.train, np.arange(24))
    whole, split = (Updater(make_model(name, 40).train(), TrainingConfig(), CPU, EXACT) for _ in range(2))
    for updater in (whole, split):
        remove_dropout(updater)
    whole._gradients(1, [batch], batch.tokens)
    backward = split._backward

    def small(part: Any, tokens: int) -> torch.Tensor:
        sums = backward(part, tokens)
        if len(part.source) > 7:
            raise torch.OutOfMemoryError("no room")
        return sums

    split._backward = small  # type: ignore[method-assign]
    _, splits = split._gradients(1, [batch], batch.tokens)
    assert splits == 3
    for one, two in zip(whole.model.parameters(), split.model.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, rtol=1e-9, atol=1e-12)


VISUAL = {
    "kind": "visual",
    "height": 8,
    "window": 12,
    "stride": 8,
    "base": {"kind": "rnn", "embedding": 16, "hidden": 16},
}
SPELLED = {"joint": False, "source_kind": "byte", "kind": "word"}


def _visual_trainer(folder: Path, **training: Any) -> Trainer:
    recipe = make_recipe(VISUAL, tokenizer=SPELLED, training=training)
    return Trainer(recipe, prepare(recipe), folder, CPU)


def test_running_statistics_move_once_where_a_batch_is_halved(tmp_path: Path, home: Path) -> None:
    """They are those of the halves alone: what ran before memory ran out does not count."""
    whole, split = (_visual_trainer(tmp_path / name) for name in ("whole", "split"))
    batch = collate(whole.prepared.train, np.arange(8))
    backward = split.updater._backward

    def small(part: Any, tokens: int) -> torch.Tensor:
        sums = backward(part, tokens)
        if len(part.source) > 4:
            raise torch.OutOfMemoryError("no room")
        return sums

    split.updater._backward = small  # type: ignore[method-assign]
    whole.updater.update(1, batch.halves(), 0.0)
    assert split.updater.update(1, [batch], 0.0).splits == 1
    fresh = _visual_trainer(tmp_path / "fresh").updater.statistics.moving
    pairs = zip(whole.updater.statistics.moving, split.updater.statistics.moving, fresh, strict=True)
    assert all(torch.equal(one, two) and not torch.equal(one, before) for one, two, before in pairs)


def test_a_skipped_update_leaves_running_statistics(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pictures or gradients are not finite, they stay as they were, and finite."""
    trainer = _visual_trainer(tmp_path)
    batch = collate(trainer.prepared.train, np.arange(8))
    trainer.updater.update(1, [batch], 0.0)
    before = [part.clone() for part in trainer.updater.statistics.moving]
    monkeypatch.setattr("nmt.models.visual.image.inked", lambda pixels, like: inked(pixels, like) * torch.inf)
    assert not trainer.updater.update(2, [batch], 0.0).figures[-1]
    assert all(torch.equal(*pair) for pair in zip(before, trainer.updater.statistics.moving, strict=True))


def test_frozen_image_encoders_do_not_move(tmp_path: Path, home: Path) -> None:
    """None of their parameters, running statistics included."""
    trainer = _visual_trainer(tmp_path, freeze=["image*"])
    before = {name: part.clone() for name, part in trainer.model.named_parameters()}
    trainer.run()
    still = {name for name, part in trainer.model.named_parameters() if torch.equal(part, before[name])}
    assert {name for name in before if name.startswith("image")} <= still < before.keys()


def test_a_single_sentence_that_does_not_fit_is_an_error() -> None:
    """When even one sentence exceeds the memory, the update raises the out-of-memory error."""
    updater = make_updater()

    def never(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    updater._backward = never  # type: ignore[method-assign]
    with pytest.raises(torch.OutOfMemoryError):
        updater.update(1, [copying_batch(*make_batch([3, 2]))], 1e-3)


def test_automatic_batches_are_doubled_until_memory_runs_out(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the largest size whose largest batch fits in one piece; kept in the checkpoint."""
    recipe = make_recipe(training={"batch_tokens": "auto"})
    trainer = Trainer(recipe, prepared, tmp_path, CPU)
    backward = trainer.updater._backward

    def small(batch: Any, tokens: int) -> torch.Tensor:
        if batch.tokens > 900:
            raise torch.OutOfMemoryError("no room")
        return backward(batch, tokens)

    trainer.updater._backward = small  # type: ignore[method-assign]
    with monkeypatch.context() as patch:
        patch.setattr(rehearsal, "_SMALLEST", 50)
        assert rehearsal._largest_that_fits(trainer.stream, trainer.updater) == 400
    trainer.stream.close()
    reports: list[dict[str, Any]] = []
    assert (
        Trainer(recipe, prepared, tmp_path, CPU, lambda event: reports.append(logged(event))).run().batch_tokens == 4096
    )
    assert reports[0]["batch_tokens"] == 4096
