"""Work whose result is needed only at the end of an update: on a GPU it runs in parallel to the rest.

Gradients of weights are such work. Small products of them do not fill a card. In another stream they share it with the next
layer, and in a CUDA graph they are a separate branch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

_streams: list[torch.cuda.Stream] = []  # the current streams for such work; autograd uses them from its own threads


@contextmanager
def collected(device: torch.device, enabled: bool = True) -> Generator[None]:
    """Lets `aside` run in parallel within the block on a GPU; after the block its results are ready."""
    if device.type != "cuda" or not enabled:
        yield
        return
    stream = _stream(device)
    _streams.append(stream)
    try:
        yield
    finally:
        _streams.pop()
        torch.cuda.current_stream(device).wait_stream(stream)


def aside(work: Callable[[], Result], *inputs: Tensor) -> Result:
    """Runs some work on some tensors; the result may be read after the block of `collected`."""
    if not _streams:
        return work()
    stream = _streams[-1]
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    for tensor in inputs:
        tensor.record_stream(stream)
    with torch.cuda.stream(stream):
        return work()


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
