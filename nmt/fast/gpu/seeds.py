"""Seeds of dropout on the device: one number seeds an update, and each dropout layer takes its own seed from it."""

from __future__ import annotations

import torch
from torch import Tensor

_STEP = 0x9E3779B97F4A7C15 - 2**64  # between two seeds, modulo 2^64; odd, so that none repeats
_PLACES = 1 << 14  # more seeds than the deepest model needs


class Seeds:
    """Hands out one seed after another; in each update the same layers get the same turn."""

    def __init__(self, device: torch.device) -> None:
        self.number = torch.zeros(1, dtype=torch.int64, device=device)
        """The number of the update; see `nmt.runtime.device.update_seed`."""
        self._steps = torch.arange(_PLACES, dtype=torch.int64, device=device) * _STEP
        self._values = self._steps
        self._taken = 0

    def begin(self) -> None:
        """Takes over the number of the update and starts again with the first seed."""
        self._values, self._taken = self._steps + self.number, 0

    def next(self) -> Tensor:
        """Returns the next seed, one int64 (1,)."""
        self._taken += 1
        return self._values[self._taken - 1 : self._taken]
