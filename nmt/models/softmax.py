"""Softmax, padded to whole vector registers on CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def softmax(scores: Tensor) -> Tensor:
    """Returns the softmax over the last dimension.

    On CPU torch computes the rest of a row that fills no vector register number by number, some ten times slower. At the
    lengths of sentences most numbers are in that rest, so the scores are padded.
    """
    width = scores.shape[-1]
    missing = -width % lanes(scores.dtype)
    if missing == 0 or scores.device.type != "cpu":
        return scores.softmax(-1)
    return F.pad(scores, (0, missing), value=-torch.inf).softmax(-1)[..., :width]


def lanes(dtype: torch.dtype) -> int:
    """Returns how many numbers fit into the widest vector register of a CPU (512 bits)."""
    return 64 // dtype.itemsize
