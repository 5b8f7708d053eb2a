"""Softmax, filled up to what a CPU computes at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def softmax(scores: Tensor) -> Tensor:
    """Softmax over the last dimension.

    On CPU torch computes what does not fill a vector register number by number, some ten times slower; at the lengths of
    sentences that is most of it. So the scores are filled up.
    """
    width = scores.shape[-1]
    missing = -width % lanes(scores.dtype)
    if missing == 0 or scores.device.type != "cpu":
        return scores.softmax(-1)
    return F.pad(scores, (0, missing), value=-torch.inf).softmax(-1)[..., :width]


def lanes(dtype: torch.dtype) -> int:
    """Numbers in the widest vector register of a CPU (512 bits)."""
    return 64 // dtype.itemsize
