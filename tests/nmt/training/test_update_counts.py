"""What a static update asks of a GPU: counted on fake tensors at full size, where our kernels count as one operation each."""

from __future__ import annotations

import functools
from typing import Literal

import pytest
import torch
from torch import Tensor

from counting import Counting, counted, fake
from nmt.config.model import RnnConfig, TransformerConfig
from nmt.config.recipe import TrainingConfig
from nmt.fast.gpu import attending, attention, norm, packed_transformer
from nmt.fast.gpu.packing import Capacity, Packed
from nmt.fast.gpu.rounding import Rounded, Shape
from nmt.models import build_model
from nmt.training import packed_loss as loss
from nmt.training.arithmetic import Arithmetic
from nmt.training.optim import Muon
from nmt.training.static_update import StaticUpdate
from nmt.training.updater import Updater

pytest.importorskip("triton")

from nmt.fast.triton import cells, look  # only where Triton is

CPU = torch.device("cpu")
TINY = TransformerConfig()
BASE = TransformerConfig(width=512, feed_forward=2048, heads=8, encoder_layers=6, decoder_layers=6)
VOCABULARY = 8000


def dropout(states: Tensor, probability: float) -> Tensor:
    """As on CUDA: one operation."""
    return torch.native_dropout(states, probability, True)[0] if probability else states


def counted_update(
    monkeypatch: pytest.MonkeyPatch, config: TransformerConfig, rows: int, **training: object
) -> Counting:
    """The second update of a model, as on a GPU."""
    for module in (attention, loss, norm):
        monkeypatch.setattr(module, "usable", lambda _: True)
    monkeypatch.setattr(packed_transformer, "drop", dropout)
    with fake():
        model = build_model(config, VOCABULARY, VOCABULARY).train()
        updater = Updater(model, TrainingConfig.model_validate(training), CPU, Arithmetic("bf16", onednn=False))
        if isinstance(updater.optimizer, Muon):
            updater.optimizer.stack()
        static = StaticUpdate(updater, 201)
        capacity = Capacity(rows, rows)
        batch = Packed(torch.zeros(capacity.numbers, dtype=torch.int32), capacity, rows)
        static._work(batch)
        return counted(lambda: static._work(batch))


def test_an_update_of_a_small_model_takes_few_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views apart; what one call hands to the device in several kernels counts once. The host waits for none."""
    found = counted_update(monkeypatch, TINY, 4096)
    assert found.count <= 330, found.table()
    assert found.waits == 0


@pytest.mark.slow
def test_an_update_of_a_base_model_takes_few_operations_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 24,576 rows on each side; hardly an activation is cast or copied."""
    rows = 24576
    found = counted_update(monkeypatch, BASE, rows)
    inside = 2 * 2 * rows * VOCABULARY  # of the loss: logits are written by the product and read by the visit
    assert found.count <= 600, found.table()
    assert found.moved + inside <= 50e9, found.table()
    assert found.casts(at_least=rows * BASE.width) <= 4, found.table()
    assert found.copies(at_least=rows * BASE.width) <= 20, found.table()
    assert found.waits == 0


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_position_of_the_attention_rnn_takes_few_operations(
    monkeypatch: pytest.MonkeyPatch, cell: Literal["gru", "lstm"]
) -> None:
    """Forward and backward together: products, looks at the source, and steps of the recurrent unit."""
    ours = 0

    def kernel(*_: object, **__: object) -> None:
        nonlocal ours
        ours += 1

    for module, names in {
        cells: ("gru", "gru_backward", "lstm", "lstm_backward"),
        look: ("look", "look_backward"),
    }.items():
        for name in names:
            monkeypatch.setattr(module, name, kernel)
    monkeypatch.setattr(look, "additive_keys", lambda _, keys, vector, __: (keys, vector))
    monkeypatch.setattr(attending, "usable", lambda _: True)
    counts: list[int] = []
    for length in (4, 8):
        ours = 0
        shape = Shape(64, 3, length)
        with fake():
            model = build_model(RnnConfig(cell=cell), VOCABULARY, VOCABULARY).train()
            updater = Updater(model, TrainingConfig(), CPU, Arithmetic("bf16", onednn=False))
            static = StaticUpdate(updater, 201)
            batch = Rounded(torch.zeros(shape.numbers, dtype=torch.int32), shape, 1)
            counts.append(counted(functools.partial(static._work, batch)).count + ours)
    assert counts[1] - counts[0] <= 4 * 10


@pytest.mark.slow
def test_muon_adds_few_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices of like size are made orthogonal together."""
    plain, muon = (counted_update(monkeypatch, TINY, 4096, optimizer=name) for name in ("adam", "muon"))
    assert muon.count - plain.count <= 80, muon.table()
