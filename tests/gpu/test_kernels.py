"""Each kernel on the GPU, in both precisions, beside float64."""

# pyright: reportCallIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false
# Inputs are lists, of which a call takes as many as it has, and every one of them has a gradient.

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nmt.config.model import RnnConfig
from nmt.config.search import SearchConfig
from nmt.decoding.device.attention import Turns, attend_past, attend_source
from nmt.decoding.device.beams import Beams, Room
from nmt.fast.gpu.attending import attend_by_kernels
from nmt.fast.gpu.attention import packed_attention
from nmt.fast.gpu.norm import activated, activated_product, residual_norm
from nmt.fast.triton import missing
from nmt.models.rnn.decoder import AttentionDecoder
from nmt.models.rnn.state import Carry, RnnMemory
from nmt.training.packed_loss import packed_cross_entropy
from packs import error, spans

pytestmark = pytest.mark.gpu

PRECISIONS = [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)]
IDS = ["fp32", "bf16"]


def exact(*shapes: tuple[int, ...]) -> list[Tensor]:
    """Random tensors on the GPU, in numbers that bf16 has too."""
    torch.manual_seed(8)
    parts = [torch.randn(shape, device="cuda").bfloat16().double() for shape in shapes]
    return [part.requires_grad_() for part in parts]


def to(dtype: torch.dtype, parts: list[Tensor]) -> list[Tensor]:
    return [part.detach().to(dtype).requires_grad_() for part in parts]


def worst(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest error of several."""
    return max(error(one, other) for one, other in zip(found, wanted, strict=True))


def test_kernels_can_be_used() -> None:
    """On the GPU machine nothing that the kernels need is missing."""
    assert missing() is None


@pytest.mark.parametrize(("dtype", "most"), PRECISIONS, ids=IDS)
@pytest.mark.parametrize("width", [16, 32, 48, 64, 128, 256])
@pytest.mark.parametrize("kind", ["encoder", "decoder", "source"])
def test_packed_attention(kind: str, width: int, dtype: torch.dtype, most: float) -> None:
    """Forward and backward, with dropout, ALiBi, empty rows, sentences of one token and of 200."""
    heads, columns = 4, [9, 1, 70, 200, 30, 2, 64]
    rows = [5, 3, 0, 180, 41, 2, 64] if kind == "source" else columns
    sizes = sum(rows) + 5, sum(columns) + 5, sum(columns) + 5
    wanted = exact(*[(size, heads * width) for size in sizes])
    found = to(dtype, wanted)
    places = [part.cuda() for part in spans(rows, columns)]
    options = {"heads": heads, "causal": kind == "decoder", "dropout": 0.2, "seed": torch.tensor([5], device="cuda")}
    slopes = torch.tensor([0.5, 0.25, 0.1, 0.01], device="cuda") if kind != "source" else None
    outs = [packed_attention(*inputs, *places, **options, slopes=slopes) for inputs in (found, wanted)]
    assert worst(outs[:1], outs[1:]) < most
    assert not outs[0][sum(rows) :].any()
    (gradient,) = exact(tuple(outs[1].shape))
    mine, reference = (
        torch.autograd.grad(out, inputs, gradient.to(out.dtype))
        for out, inputs in zip(outs, (found, wanted), strict=True)
    )
    assert worst(list(mine), list(reference)) < 2 * most


@pytest.mark.parametrize(("dtype", "most"), PRECISIONS, ids=IDS)
@pytest.mark.parametrize("vocabulary", [1000, 8000, 32_001])
def test_packed_loss(vocabulary: int, dtype: torch.dtype, most: float) -> None:
    """Forward and backward, with empty rows, for words that fit into a block and that do not."""
    wanted = exact((300, 64), (vocabulary, 64), (vocabulary,))
    with torch.no_grad():
        wanted[1].mul_(0.125)
    found = to(dtype, wanted)
    target = torch.randint(0, vocabulary, (300,), device="cuda", dtype=torch.int32)
    losses = [packed_cross_entropy(*inputs, target * (target % 7 > 0), 0.1) for inputs in (found, wanted)]
    assert worst([losses[0].total, losses[0].each], [losses[1].total, losses[1].each]) < most
    mine, reference = (
        torch.autograd.grad(loss.total, inputs) for loss, inputs in zip(losses, (found, wanted), strict=True)
    )
    assert worst(list(mine), list(reference)) < 2 * most


@pytest.mark.parametrize(("dtype", "most"), PRECISIONS, ids=IDS)
@pytest.mark.parametrize("width", [48, 512, 1024])
@pytest.mark.parametrize("rms", [False, True])
def test_residual_norm(rms: bool, width: int, dtype: torch.dtype, most: float) -> None:
    """Forward and backward, with dropout."""
    wanted = exact((3000, width), (3000, width), (width,), (width,), (width,))
    found, seed = to(dtype, wanted), torch.tensor([2**40 + 3], device="cuda")
    count = 4 if rms else 5
    outs = [
        residual_norm(*inputs[:2], inputs[-2], None if rms else inputs[2], inputs[-1], dropout=0.1, seed=seed)
        for inputs in (found, wanted)
    ]
    assert worst(list(outs[0]), list(outs[1])) < most
    gradients = exact((3000, width), (3000, width))
    mine, reference = (
        torch.autograd.grad(out, [*inputs[:2], *inputs[5 - count + 2 :]], [part.to(out[0].dtype) for part in gradients])
        for out, inputs in zip(outs, (found, wanted), strict=True)
    )
    assert worst(list(mine), list(reference)) < most


@pytest.mark.parametrize(("dtype", "most"), PRECISIONS, ids=IDS)
def test_rectified_product(dtype: torch.dtype, most: float) -> None:
    """Forward and backward."""
    wanted = exact((3000, 256), (1024, 256), (1024,))
    found = to(dtype, wanted)
    outs = [activated_product(inputs[0], inputs[1], inputs[2], "relu") for inputs in (found, wanted)]
    assert worst([outs[0]], [outs[1]]) < most
    gradient = exact((3000, 1024))[0]
    mine, reference = (
        torch.autograd.grad(out, inputs, gradient.to(out.dtype))
        for out, inputs in zip(outs, (found, wanted), strict=True)
    )
    assert worst(list(mine), list(reference)) < 2 * most


@pytest.mark.parametrize(("dtype", "most"), PRECISIONS, ids=IDS)
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_activation(activation: str, dtype: torch.dtype, most: float) -> None:
    """Forward and backward, with dropout."""
    wanted = exact((999, 1000))
    found, seed = to(dtype, wanted), torch.tensor([9], device="cuda")
    outs = [activated(inputs[0], activation, 0.1, seed) for inputs in (found, wanted)]
    assert worst(outs[:1], outs[1:]) < most
    (gradient,) = exact((999, 1000))
    grads = [
        torch.autograd.grad(out, inputs, gradient.to(out.dtype))
        for out, inputs in zip(outs, (found, wanted), strict=True)
    ]
    assert worst(list(grads[0]), list(grads[1])) < most


@pytest.mark.parametrize(("dtype", "most"), PRECISIONS, ids=IDS)
@pytest.mark.parametrize("places", ["none", "rotary", "alibi"])
@pytest.mark.parametrize("beam", [1, 5, 20])
def test_attention_of_search(beam: int, places: str, dtype: torch.dtype, most: float) -> None:
    """To the past by the ancestry, with the caches that it fills, and to the source."""
    slots, heads, width, longest = 7, 4, 64, 90
    lengths = torch.tensor([5, 1, 80, 33, 12, 64, 7, 2])
    config, cuda = SearchConfig(beam=beam), torch.device("cuda")
    beams = Beams(Room(slots, beam, len(lengths), int(lengths.sum()), 80, longest), cuda, config, 1)
    beams.queue.begin(lengths, config)
    beams.owners.copy_(torch.tensor([2, 0, 3, 7, 1, 5, 6]))
    beams.positions.copy_(torch.tensor([0, 5, 20, 63, 64, 1, 80]))
    rows = torch.arange(slots * beam, device="cuda")
    beams.ancestry.copy_(torch.randint(0, beam, beams.ancestry.shape))
    beams.ancestry[rows, beams.positions.repeat_interleave(beam)] = rows % beam
    cache = (slots * beam, longest, heads * width)
    wanted = [part.detach() for part in exact((slots * beam, 3 * heads * width), cache, cache)]
    found = [part.to(dtype) for part in wanted]
    slopes = torch.tensor([0.5, 0.25, 0.1, 0.01], device="cuda") if places == "alibi" else None
    outs = []
    for inputs in (found, wanted):
        turns = Turns.of(longest, width, inputs[0]) if places == "rotary" else None
        outs.append(attend_past(*inputs, beams, heads, 0.125, turns, slopes))
    assert worst([outs[0], *found], [outs[1], *wanted]) < most
    query, sources = (
        part.detach() for part in exact((slots * beam, heads * width), (int(lengths.sum()), 2 * heads * width))
    )
    outs = [attend_source(query.to(kind), sources.to(kind), beams, heads, 0.125) for kind in (dtype, torch.float64)]
    assert worst(outs[:1], outs[1:]) < most


@pytest.mark.parametrize(("dtype", "most"), PRECISIONS, ids=IDS)
@pytest.mark.parametrize("score", ["additive", "scaled_dot"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_attention_decoder(cell: Any, score: Any, dtype: torch.dtype, most: float) -> None:
    """Forward and backward, beside the loop."""
    lengths = torch.tensor([33, 1, 7, 64, 20], device="cuda")
    mask = torch.arange(64, device="cuda") < lengths[:, None]
    wanted = exact((5, 9, 32), (5, 64, 128), *[(1, 5, 128)] * (2 if cell == "lstm" else 1))
    results = []
    for kind in (dtype, torch.float64):
        torch.manual_seed(2)
        decoder = AttentionDecoder(RnnConfig(hidden=128, embedding=32, cell=cell), 128, score).cuda().to(torch.bfloat16)
        attend_by_kernels(decoder)
        decoder, inputs = decoder.to(kind), to(kind, wanted)
        memory = RnnMemory(inputs[1][:, 0], inputs[1], decoder.keys(inputs[1]), mask)
        decoded = decoder(inputs[0], memory, Carry(tuple(inputs[2:])))
        outs = [decoded.states, decoded.contexts]
        factors = exact(*[tuple(out.shape) for out in outs])
        total = sum((out * factor.detach().to(kind)).sum() for out, factor in zip(outs, factors, strict=True))
        results.append((outs, list(torch.autograd.grad(total, [*inputs, *decoder.parameters()]))))
    assert worst(results[0][0], results[1][0]) < most
    assert worst(results[0][1], results[1][1]) < 5 * most


def test_a_replayed_graph_draws_anew() -> None:
    """Attention and norm are captured; another number in the seed is another mask, the same number the same."""
    states, places = torch.randn(69, 3 * 64, device="cuda"), [part.cuda() for part in spans([64], [64])]
    seed, weight = torch.zeros(1, dtype=torch.int64, device="cuda"), torch.ones(64, device="cuda")

    def work() -> Tensor:
        found = packed_attention(states, None, None, *places, heads=2, dropout=0.3, seed=seed)
        return residual_norm(found, found, weight, weight, dropout=0.3, seed=seed)[1]

    work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = work()
    seen = []
    for number in (1, 2, 1):
        seed.fill_(number)
        graph.replay()
        seen.append(found.clone())
        torch.testing.assert_close(seen[-1], work())
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
def test_the_compiler_takes_the_kernels() -> None:
    """Without a graph break: each is one operation to it."""
    states, places = (
        torch.randn(69, 3 * 64, device="cuda", requires_grad=True),
        [part.cuda() for part in spans([64], [64])],
    )
    weight = torch.ones(64, device="cuda")

    def work(inputs: Tensor) -> Tensor:
        found = packed_attention(inputs, None, None, *places, heads=2, causal=True)
        total, normed = residual_norm(found, found.sin(), weight, weight)
        return activated(total + normed, "relu").square().sum()

    compiled = torch.compile(work, fullgraph=True)
    (mine,) = torch.autograd.grad(compiled(states), states)
    (reference,) = torch.autograd.grad(work(states), states)
    torch.testing.assert_close(mine, reference)
