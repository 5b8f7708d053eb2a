"""Repeats work without the host: as a CUDA graph where possible, otherwise call by call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Repeated:
    """Repeatable work on tensors that stay in place. It does not keep the work, whose owner may keep this."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._graph: torch.cuda.CUDAGraph | None = None

    def until_zero(self, work: Callable[[], None], remaining: Tensor) -> None:
        """Repeats the same work as ever until a number on the device is zero.

        On CUDA the host reads the number of the repetition before, so that the device never waits.
        """
        if self.device.type != "cuda":
            while int(remaining):
                work()
            return
        seen = [torch.ones((), dtype=remaining.dtype, pin_memory=True) for _ in range(2)]
        events = [torch.cuda.Event() for _ in range(2)]
        turn = 0
        while True:
            self._once(work)
            seen[turn].copy_(remaining, non_blocking=True)
            events[turn].record()
            turn = 1 - turn
            events[turn].synchronize()  # waits for the repetition before; returns at once in the first round
            if int(seen[turn]) == 0:
                return

    def _once(self, work: Callable[[], None]) -> None:
        """Runs the work: eagerly the first time (a warm-up), captured the second time, then as a graph."""
        if self._graph is not None:
            self._graph.replay()
            return
        if not self._warm:
            self._warm = True
            work()
            return
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # others may load data meanwhile
            work()
        self._graph = graph
        graph.replay()

    _warm = False
