"""The kernels of search on a device attend to what its plain functions attend to."""

# pyright: reportCallIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false
# Inputs are lists, of which a call takes as many as it has, and every one of them has a gradient.

from __future__ import annotations

import pytest
import torch

from nmt.config.search import SearchConfig
from nmt.decoding.device.attention import Turns, attend_past, attend_source
from nmt.decoding.device.beams import Beams, Room
from packs import error

SLOTS, BEAM, HEADS, LONGEST = 3, 2, 2, 24


def _beams(positions: list[int], lengths: list[int]) -> Beams:
    """Slots that are at these positions, with sources of these lengths, and any ancestry."""
    torch.manual_seed(6)
    room = Room(SLOTS, BEAM, len(lengths), sum(lengths), max(lengths), LONGEST)
    beams = Beams(room, torch.device("cpu"), SearchConfig(beam=BEAM), 1)
    beams.queue.begin(torch.tensor(lengths), SearchConfig(beam=BEAM))
    beams.owners.copy_(torch.tensor([2, 0, 3]))
    beams.positions.copy_(torch.tensor(positions))
    rows = torch.arange(SLOTS * BEAM)
    beams.ancestry.copy_(torch.randint(0, BEAM, beams.ancestry.shape))
    beams.ancestry[rows, beams.positions.repeat_interleave(BEAM)] = rows % BEAM
    return beams


@pytest.mark.parametrize("places", ["none", "rotary", "alibi"])
@pytest.mark.parametrize("width", [16, 24])
@pytest.mark.usefixtures("interpreter")
def test_past_kernel_equals_plain_attention(places: str, width: int) -> None:
    """In fp32 beside float64, at the first position and beyond a block; the caches are filled alike."""
    from nmt.fast.triton.ancestry import past_attention

    beams = _beams([0, 5, 20], [1, 4, 33, 7])
    shapes = (SLOTS * BEAM, 3 * HEADS * width), *[(SLOTS * BEAM, LONGEST, HEADS * width)] * 2
    exact = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    found = [part.float() for part in exact]
    turns = Turns.of(LONGEST, width, exact[0]) if places == "rotary" else None
    slopes = torch.tensor([0.5, 0.1], dtype=torch.float64) if places == "alibi" else None
    wanted = attend_past(*exact, beams, HEADS, 0.3, turns, slopes)
    mine = past_attention(
        *found,
        beams.ancestry,
        beams.positions,
        HEADS,
        0.3,
        None if turns is None else turns.cosine.float(),
        None if turns is None else turns.sine.float(),
        None if slopes is None else slopes.float(),
    )
    assert error(mine, wanted) < 1e-5
    assert max(map(error, found, exact)) < 1e-5


@pytest.mark.parametrize("width", [16, 24])
@pytest.mark.usefixtures("interpreter")
def test_source_kernel_equals_plain_attention(width: int) -> None:
    """In fp32 beside float64, with a source of one token and one beyond a block."""
    from nmt.fast.triton.ancestry import source_attention

    beams = _beams([0, 5, 20], [1, 4, 33, 7])
    exact = [
        torch.randn(shape, dtype=torch.float64) for shape in ((SLOTS * BEAM, HEADS * width), (45, 2 * HEADS * width))
    ]
    wanted = attend_source(*exact, beams, HEADS, 0.3)
    queue = beams.queue
    places = beams.owners, queue.offsets, queue.lengths
    assert error(source_attention(*(part.float() for part in exact), *places, HEADS, 0.3), wanted) < 1e-5
