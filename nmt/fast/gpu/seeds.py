"""Seeds of dropout on the device: one number decides on those of an update, and each place that drops takes its own."""

from __future__ import annotations

import torch
from torch import Tensor

_STEP = 0x9E3779B97F4A7C15 - 2**64  # between the seeds of two places, modulo 2^64; odd, so that none comes twice
_PLACES = 1 << 14  # more than the deepest model has


class Seeds:
    """Hands out one seed after another; in each update the same places get the same turn."""

    def __init__(self, device: torch.device) -> None:
        self.number = torch.zeros(1, dtype=torch.int64, device=device)
        """Of the update; see `nmt.runtime.device.update_seed`."""
        self._steps = torch.arange(_PLACES, dtype=torch.int64, device=device) * _STEP
        self._values = self._steps
        self._taken = 0

    def begin(self) -> None:
        """Takes the number of the update up; the first seed is next."""
        self._values, self._taken = self._steps + self.number, 0

    def next(self) -> Tensor:
        """One int64 (1,)."""
        self._taken += 1
        return self._values[self._taken - 1 : self._taken]
