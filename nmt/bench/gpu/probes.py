"""Limits of the card itself, to compare all other figures with, and what graphs can hold."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.bench.gpu.context import Context, seconds_of
from nmt.runtime.device import describe, seed_update

_PRODUCTS = {  # rows x inner x columns of a base, a tiny and a big Transformer with 25,000 tokens a batch
    "square 8192": (8192, 8192, 8192),
    "base projection": (25_000, 512, 1536),
    "base feed-forward": (25_000, 512, 2048),
    "base feed-forward back": (25_000, 2048, 512),
    "base weight gradient": (2048, 25_000, 512),
    "base logits": (25_000, 512, 8000),
    "tiny feed-forward": (4096, 256, 1024),
    "tiny logits": (4096, 256, 8000),
    "big feed-forward": (25_000, 1024, 4096),
    "recurrent cell": (256, 512, 2048),
}


def probe(context: Context) -> None:
    """Measures copies, products, launches, transfers and graphs."""
    _facts(context)
    _copy(context)
    for name, shape in _PRODUCTS.items():
        _product(context, name, shape)
    _launches(context)
    _transfers(context)
    if context.on_gpu:
        _graph(context)


def _facts(context: Context) -> None:
    context.write("device", describe(context.device), "")
    for package in ("torch", "triton", "ctranslate2"):
        try:
            context.write(package, version(package), "")
        except PackageNotFoundError:
            context.write(package, "none", "")
    context.write("python", platform.python_version(), "")
    if context.on_gpu:
        context.write("memory", torch.cuda.mem_get_info(context.device)[1] / 2**30, "GiB")


def _copy(context: Context) -> None:
    size = 2**20 if context.quick else 2**30
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=context.device)
    target = torch.empty_like(source)
    context.write("copy", 2 * size / seconds_of(context.device, lambda: target.copy_(source)) / 1e9, "GB/s")


def _product(context: Context, name: str, shape: tuple[int, int, int]) -> None:
    rows, inner, columns = (max(8, size // 64) for size in shape) if context.quick else shape
    left, right = (
        torch.randn(sizes, device=context.device).to(torch.bfloat16) for sizes in ((rows, inner), (inner, columns))
    )
    seconds = seconds_of(context.device, lambda: left @ right, repeats=20)
    context.write(f"bf16 {name}", 2 * rows * inner * columns / seconds / 1e12, "TFLOP/s")


def _launches(context: Context) -> None:
    """Measures the host time of a small operation, eager and in a graph."""
    count, small = 100 if context.quick else 2000, torch.zeros(64, device=context.device)

    def many() -> None:
        for _ in range(count):
            small.add_(1)

    many()
    _wait(context)
    start = perf_counter()
    many()
    _wait(context)
    context.write("eager launch", 1e6 * (perf_counter() - start) / count, "µs")
    if context.on_gpu:
        replay = captured(many)
        context.write("launch in a graph", 1e6 * seconds_of(context.device, replay) / count, "µs")
        start = perf_counter()
        replay()
        context.write("replay, host's time", 1e6 * (perf_counter() - start), "µs")
        _wait(context)


def _transfers(context: Context) -> None:
    """Measures the time to send row numbers, and to read one number from the device."""
    rows = torch.arange(2000)
    rows = rows.pin_memory() if context.on_gpu else rows
    there = torch.zeros(2000, dtype=torch.int64, device=context.device)
    for name, run in (
        ("send 2,000 numbers", lambda: there.copy_(rows, non_blocking=True)),
        ("read one number", there[0].item),
    ):
        run()
        start = perf_counter()
        for _ in range(100):
            run()
        _wait(context)
        context.write(name, 1e4 * (perf_counter() - start), "µs")


def _graph(context: Context) -> None:
    """Checks that dropout inside a graph follows the seed set before its replay."""
    inputs = torch.ones(1 << 16, device=context.device)
    outputs = torch.empty_like(inputs)
    replay = captured(lambda: outputs.copy_(F.dropout(inputs, 0.5)))

    def mask(update: int) -> Tensor:
        seed_update(1, update)
        replay()
        return outputs.clone()

    first, second, again = mask(1), mask(2), mask(1)
    context.write(
        "dropout in a graph follows its seed", float(bool((first == again).all() and (first != second).any())), ""
    )
    seed_update(1, 1)
    context.write("and is that of eager", float(bool((F.dropout(inputs, 0.5) == first).all())), "")


def captured(run: Callable[[], object]) -> Callable[[], None]:
    """Captures the work of a function as a graph and returns its replay."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def _wait(context: Context) -> None:
    if context.on_gpu:
        torch.cuda.synchronize(context.device)
