"""Times of the Triton kernels at the sizes of a base Transformer with 25,000 tokens per batch, with memory rates.

python -m nmt.bench.kernels             each kernel as it is used
python -m nmt.bench.kernels --tiles     attention with other tile sizes too
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from nmt.fast.gpu.attention import packed_attention
from nmt.fast.gpu.norm import activated, residual_norm
from nmt.fast.gpu.recurrence import Source, attending_recurrence
from nmt.fast.triton.ancestry import past_attention, source_attention
from nmt.fast.triton.columns import summed
from nmt.fast.triton.rectified import rectified_backward
from nmt.training.packed_loss import packed_cross_entropy

ROWS, WIDTH, HEADS, INNER, VOCABULARY = 25_000, 512, 8, 2048, 8000
_TILES = [
    (64, 64, 4, 2),
    (64, 64, 4, 1),
    (64, 64, 8, 2),
    (64, 32, 4, 2),
    (32, 64, 4, 2),
    (32, 32, 4, 2),
    (128, 64, 8, 2),
]

Timed = tuple[str, Callable[[], object], float]
"""Name, work, and megabytes that it must move."""


def microseconds(work: Callable[[], object], repeats: int = 20) -> float:
    """Returns the device's microseconds of one call, measured in a graph so that launches do not count."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(2):
            work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(repeats):
            work()
    times: list[float] = []
    for _ in range(4):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return 1000 * min(times) / repeats


def _lengths(total: int) -> list[int]:
    """Draws realistic sentence lengths, 25 tokens on average, that fill `total` rows."""
    generator = torch.Generator().manual_seed(1)
    found: list[int] = []
    while sum(found) < total:
        found.append(max(1, min(200, int(torch.empty(1).log_normal_(3.05, 0.6, generator=generator)))))
    found[-1] -= sum(found) - total
    return found


def _packed(total: int) -> tuple[Tensor, Tensor]:
    """Returns starts and counts of `total` rows."""
    counts = torch.tensor(_lengths(total))
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    return starts.int().cuda(), counts.repeat_interleave(counts).int().cuda()


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, device="cuda", dtype=torch.bfloat16).requires_grad_()


def _both_ways(work: Callable[[], Tensor | tuple[Tensor, ...]], inputs: list[Tensor]) -> Callable[[], object]:
    """Runs forward and backward, with a random gradient of each result."""
    outs = work()
    gradients = [torch.randn_like(out) for out in (outs if isinstance(outs, tuple) else (outs,))]

    def run() -> None:
        outs = work()
        torch.autograd.grad(outs, inputs, gradients)

    return run


def attention(dropout: float = 0.0) -> Iterator[Timed]:
    """Yields attention of encoder and decoder, forward and both ways."""
    states, rows, unit = _random(ROWS, 3 * WIDTH), _packed(ROWS), ROWS * WIDTH * 2 / 1e6
    seed = torch.tensor([1], device="cuda")
    for name, causal in (("encoder", False), ("decoder", True)):

        def work(causal: bool = causal) -> Tensor:
            return packed_attention(states, None, None, *rows, heads=HEADS, causal=causal, dropout=dropout, seed=seed)

        label = f"attention, {name}" + (f", dropout {dropout}" if dropout else "")
        yield label, work, 4 * unit
        yield f"{label}, both ways", _both_ways(work, [states]), 12 * unit


def others(rows: int = ROWS, width: int = WIDTH, inner_width: int = INNER) -> Iterator[Timed]:
    """Yields norm, activation, sums of columns and loss, forward and both ways."""
    states, update, unit = _random(rows, width), _random(rows, width), rows * width * 2 / 1e6
    weight, bias, seed = _random(width), _random(width), torch.tensor([1], device="cuda")
    inner = _random(rows, inner_width)
    wide = inner_width / width * unit

    def norm() -> tuple[Tensor, Tensor]:
        return residual_norm(states, update, weight, bias, dropout=0.1, seed=seed)

    yield "residual and norm", norm, 4 * unit
    yield "residual and norm, both ways", _both_ways(norm, [states, update, weight, bias]), 9 * unit

    def active() -> Tensor:
        return activated(inner, "relu", 0.1, seed)

    yield "activation", active, 2 * wide
    yield "activation, both ways", _both_ways(active, [inner]), 5 * wide
    out, gradient = (part.detach() for part in (inner.relu(), _random(rows, inner_width)))
    yield "gradient of a rectified sum", lambda: rectified_backward(gradient, out)[0], 3 * wide
    yield "sums of columns", lambda: summed(gradient), wide
    hidden, output, offset = _random(rows, width), _random(VOCABULARY, width), _random(VOCABULARY)
    target = torch.randint(4, VOCABULARY, (rows,), device="cuda", dtype=torch.int32)
    logits = rows * VOCABULARY * 2 / 1e6

    def loss() -> Tensor:
        return packed_cross_entropy(hidden, output, offset, target, 0.1).total

    yield "product and loss", loss, 3 * logits
    yield "product and loss, both ways", _both_ways(loss, [hidden, output, offset]), 6 * logits


def search(slots: int = 128, beam: int = 5, length: int = 25) -> Iterator[Timed]:
    """Yields the attention of a search step in the middle of sentences."""
    rows, longest = slots * beam, 2 * length
    new, unit = _random(rows, 3 * WIDTH), WIDTH * 2 / 1e6
    keys, values = (_random(rows, longest, WIDTH).detach() for _ in range(2))
    ancestry = torch.randint(0, beam, (rows, longest), device="cuda")
    positions = torch.full((slots,), length, device="cuda")
    sources = _random(slots * length, 2 * WIDTH)
    owners = torch.arange(slots, device="cuda")
    offsets, lengths = owners * length, torch.full((slots,), length, device="cuda")
    name = f"{slots} slots of {beam}"
    yield (
        f"past, {name}",
        lambda: past_attention(new, keys, values, ancestry, positions, HEADS, 0.125),
        2 * rows * length * unit,
    )
    yield (
        f"source, {name}",
        lambda: source_attention(new[:, :WIDTH].contiguous(), sources, owners, offsets, lengths, HEADS, 0.125),
        2 * slots * length * unit,
    )


def recurrence(sentences: int = 256, length: int = 16, width: int = 512) -> Iterator[Timed]:
    """Yields all positions of the attention RNN with an LSTM of that width."""
    gates, first = _random(length, sentences, 4 * width), _random(2, sentences, width)
    keys, values, vector = _random(sentences, length, width), _random(sentences, length, 2 * width), _random(width)
    weight, bias, context = _random(4 * width, width), _random(4 * width), _random(4 * width, 2 * width)
    query, lengths = _random(width, width), torch.full((sentences,), length, device="cuda")
    inputs = [gates, first, keys, values, vector, weight, bias, context, query]

    def work() -> Tensor:
        source = Source(keys, values, lengths, vector)
        return attending_recurrence(gates, (first[0], first[1]), source, (weight, bias), context, query).states

    looks = length * sentences * length * width * 2 / 1e6
    yield f"recurrence, {length} positions of {sentences}", work, 3 * looks
    yield f"recurrence, {length} positions of {sentences}, both ways", _both_ways(work, inputs), 8 * looks


def _show(timed: Iterator[Timed], extra: str = "") -> None:
    for name, work, megabytes in timed:
        took = microseconds(work)
        sys.stdout.write(f"{name + extra:44s} {took:9.1f} µs {1000 * megabytes / took:8.0f} GB/s\n")
        sys.stdout.flush()


def _same(tile: dict[str, int], *_: object, **__: object) -> dict[str, int]:
    """Returns the same tile for any request."""
    return tile


def _tiles() -> None:
    """Times attention with other tile sizes."""
    from nmt.fast.triton import attention as kernels

    own = kernels.block_sizes
    for rows, keys, warps, stages in _TILES:
        tile = {"BM": rows, "BN": keys, "num_warps": warps, "num_stages": stages}
        kernels.block_sizes = partial(_same, tile)
        for dropout in (0.0, 0.1):
            _show(attention(dropout), f" {rows}x{keys} {warps} {stages}")
    kernels.block_sizes = own


if __name__ == "__main__":
    if "--tiles" in sys.argv:
        _tiles()
    for part in (attention(), attention(0.1), others(), search(), search(512), search(1024, 1), recurrence()):
        _show(part)
    _show(others(4_096, 256, 1024), ", tiny")
