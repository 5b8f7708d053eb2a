"""Work whose result nobody waits for before the end of an update: on a GPU it runs beside the rest.

The gradients of weights are such. Small products of them do not fill a card; in another stream they share it with what the next
layer does, and in a CUDA graph they are a branch of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

_streams: list[torch.cuda.Stream] = []  # where such work goes now; autograd asks for it from threads of its own


@contextmanager
def collected(device: torch.device, enabled: bool = True) -> Generator[None]:
    """Inside, on a GPU, `aside` runs beside; afterwards what it has made is there."""
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
    """The result of some work on some tensors, which may be read after `collected`."""
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
