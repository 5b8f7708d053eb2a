"""What a step of search asks a GPU for, on fake tensors at full size: few operations, as many at each step, no waits."""

from __future__ import annotations

import pytest
import torch

from counting import Counting, counted, fake
from nmt.config.model import ModelConfig, RnnConfig, TransformerConfig
from nmt.config.search import SearchConfig
from nmt.decoding.device.beams import Beams, Room
from nmt.decoding.device.search import DeviceSearch
from nmt.decoding.device.steps import Steps, steps_for
from nmt.models import build_model
from tiny import FAMILIES, make_model

BASE = TransformerConfig(width=512, feed_forward=2048, heads=8, encoder_layers=6, decoder_layers=6)
TINY = TransformerConfig()
ATTENTION = RnnConfig(embedding=256, hidden=384)


@pytest.fixture
def _kernels(interpreter: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels are taken, and each is one operation."""
    for place in ("decoding.device.beams", "decoding.device.rnn", "decoding.device.attention", "fast.gpu.norm"):
        monkeypatch.setattr(f"nmt.{place}.usable", lambda _: True)


def _begun(model: ModelConfig, search: SearchConfig, slots: int = 256) -> tuple[Steps, Beams]:
    """A search that is ready for its first step."""
    steps = steps_for(build_model(model, 8000, 8000).eval().requires_grad_(False))
    assert steps is not None
    room = Room(slots, search.beam, 4 * slots, 64 * slots, 32, 64)
    steps.reserve(room)
    beams = Beams(room, torch.device("cpu"), search, best=1)
    beams.begin(torch.full((4 * slots,), 16))
    return steps, beams


@torch.no_grad()
def _steps(model: ModelConfig, search: SearchConfig) -> list[Counting]:
    """Some steps, one after the other."""
    with fake():
        steps, beams = _begun(model, search)
        return [counted(lambda: beams.advance(steps.step(beams))) for _ in range(4)]


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("beam", [5, 1])
@pytest.mark.parametrize(
    ("model", "most"), [(BASE, 85), (TINY, 50), (ATTENTION, 25)], ids=["base", "tiny", "attention"]
)
def test_a_step_is_few_operations(model: ModelConfig, most: int, beam: int) -> None:
    """The same at every step, and the host waits for none."""
    found = _steps(model, SearchConfig(beam=beam))
    assert found[0].count <= most, found[0].table()
    assert {step.count for step in found} == {found[0].count}
    assert not any(step.waits for step in found)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "local-monotonic"])
@torch.inference_mode()
def test_no_step_of_any_family_waits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a family has no kernels, plain torch does not ask the device either, and the end of a batch asks once."""
    for place in ("decoding.device.beams", "decoding.device.rnn", "decoding.device.attention", "fast.gpu.norm"):
        monkeypatch.setattr(f"nmt.{place}.usable", lambda _: False)
    steps = steps_for(make_model(name).float())
    assert steps is not None
    search = DeviceSearch(steps, torch.device("cpu"), slots=2)
    config, ids = SearchConfig(beam=3), [[5, 6, 7], [8], [9, 10]]
    search.search(ids, config, 1)
    running = search.running
    assert running is not None
    running.beams.begin(torch.tensor([4, 3, 2]))
    assert counted(running.steps_of_a_block).waits == 0
    copies: list[torch.Tensor] = []
    bring = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: copies.append(tensor) or bring(tensor))
    running.beams.queue.hypotheses(3, 1)
    assert len(copies) == 1
