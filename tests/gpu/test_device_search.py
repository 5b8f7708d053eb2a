"""Search that stays on the GPU finds what the CPU finds, and asks for nothing on its way."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import EOS
from nmt.decoding.beam_search import beam_search
from nmt.decoding.device.search import DeviceSearch
from nmt.decoding.device.steps import steps_for
from nmt.fast.inference import for_inference
from tiny import FAMILIES, VISUAL, make_batch, make_model

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")
SEARCHED = [
    name for name in FAMILIES | VISUAL if name not in ("local-monotonic", "transformer-none")
]  # the last has equal scores


def _searched(
    name: str, count: int, config: SearchConfig, precision: Literal["fp32", "bf16"] | None
) -> tuple[list[list[int]], list[list[int]]]:
    """Translations of so many sentences by the plain loop on the CPU, in float64, and on the GPU."""
    source, lengths = make_batch([2 + number % 17 for number in range(count)])
    model = make_model(name)
    expected = beam_search(model, source, lengths, config)
    own = model.to(CUDA) if precision is None else for_inference(model.float(), CUDA, precision)
    steps = steps_for(own)
    assert steps is not None
    ids = [row[: row.index(EOS)] if EOS in row else row for row in source.tolist()]
    found = DeviceSearch(steps, CUDA, slots=64).search(ids, config, 1)
    return [item[0].tokens for item in expected], [item[0].tokens for item in found]


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("name", SEARCHED)
def test_lines_are_those_of_the_cpu(name: str, beam: int) -> None:
    """In float64, with more sentences than slots, so that graphs are captured and slots filled anew."""
    expected, found = _searched(name, 200, SearchConfig(beam=beam), None)
    assert found == expected


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("name", ["transformer", "additive", "bottleneck", "convolution"])
def test_lines_in_single_and_half_precision(name: str, beam: int) -> None:
    """Nearly all are the same in fp32; in bf16 every sentence has a line."""
    expected, found = _searched(name, 200, SearchConfig(beam=beam), "fp32")
    assert sum(one == other for one, other in zip(expected, found, strict=True)) > 0.97 * len(expected)
    assert len(_searched(name, 200, SearchConfig(beam=beam), "bf16")[1]) == len(expected)


def test_a_vocabulary_of_several_parts() -> None:
    """More tokens than one program of a kernel takes."""
    model = make_model("transformer", 20_000).float().to(CUDA)
    source, lengths = make_batch([2 + number % 7 for number in range(100)], vocabulary=20_000)
    expected = beam_search(model, source.to(CUDA), lengths, SearchConfig(beam=4))
    steps = steps_for(model)
    assert steps is not None
    ids = [row[: length - 1] for row, length in zip(source.tolist(), lengths.tolist(), strict=True)]
    found = DeviceSearch(steps, CUDA).search(ids, SearchConfig(beam=4), 1)
    same = [one[0].tokens == other[0].tokens for one, other in zip(expected, found, strict=True)]
    assert sum(same) > 0.97 * len(same)


@torch.inference_mode()
def test_steps_wait_for_nothing() -> None:
    """Steps of a search run where torch refuses every wait of the host."""
    steps = steps_for(make_model("transformer").float().to(CUDA))
    assert steps is not None
    search = DeviceSearch(steps, CUDA)
    ids = [[5, 6, 7]] * 100
    search.search(ids, SearchConfig(beam=4), 1)
    running = search.running
    assert running is not None
    running.beams.begin(torch.full((100,), 4))
    torch.cuda.set_sync_debug_mode("error")
    try:
        running.steps_of_a_block()
    finally:
        torch.cuda.set_sync_debug_mode("default")
