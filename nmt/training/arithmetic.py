"""Choice of how training multiplies matrices on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from nmt.fast.kernels import kernels
from nmt.runtime.device import Precision, choose_precision, onednn_is_faster


@dataclass(frozen=True)
class Arithmetic:
    """How training multiplies matrices. Chosen once and stored in the checkpoint, so that a resumed run uses the same."""

    precision: Precision
    onednn: bool
    """On CPU: fp32 products by oneDNN instead of MKL."""
    packed: bool = False
    """On CPU: the training kernels without padding, for models that they support; see `nmt.fast.cpu`."""


def choose_arithmetic(name: Literal["auto", "fp32", "bf16"], device: torch.device) -> Arithmetic:
    """Chooses the precision, and the faster implementation on this device if it is no less exact."""
    on_cpu = device.type == "cpu"
    return Arithmetic(choose_precision(name, device), on_cpu and onednn_is_faster(), on_cpu and kernels() is not None)
