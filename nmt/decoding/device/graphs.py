"""Work that is repeated without the host: as a CUDA graph where there is one, else call by call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Repeated:
    """A piece of work on tensors that stay in place."""

    def __init__(self, work: Callable[[], None], device: torch.device) -> None:
        self.work, self.device = work, device
        self._graph: torch.cuda.CUDAGraph | None = None

    def until_zero(self, remaining: Tensor) -> None:
        """Repeats the work until a number on the device is zero.

        On CUDA the host looks at the number as it was one repetition ago, so that the device never waits for it.
        """
        if self.device.type != "cuda":
            while int(remaining):
                self.work()
            return
        seen = [torch.ones((), dtype=remaining.dtype, pin_memory=True) for _ in range(2)]
        events = [torch.cuda.Event() for _ in range(2)]
        turn = 0
        while True:
            self._once()
            seen[turn].copy_(remaining, non_blocking=True)
            events[turn].record()
            turn = 1 - turn
            events[turn].synchronize()  # of the repetition before; at once, where there was none
            if int(seen[turn]) == 0:
                return

    def _once(self) -> None:
        """The work: the first time call by call, which also warms up what it calls; the second time while it is captured."""
        if self._graph is not None:
            self._graph.replay()
            return
        if not self._warm:
            self._warm = True
            self.work()
            return
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # others may load data meanwhile
            self.work()
        self._graph = graph
        graph.replay()

    _warm = False
