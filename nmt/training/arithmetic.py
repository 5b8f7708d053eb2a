"""How training multiplies matrices on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from nmt.fast.kernels import kernels
from nmt.runtime.device import Precision, choose_precision, onednn_is_faster


@dataclass(frozen=True)
class Arithmetic:
    """How training multiplies matrices. Chosen once and kept in the checkpoint: a restart must not choose otherwise."""

    precision: Precision
    onednn: bool
    """On CPU: fp32 products through oneDNN instead of MKL."""
    packed: bool = False
    """On CPU: without padding, by the kernels of training, if they know the model; see `nmt.fast.cpu`."""


def choose_arithmetic(name: Literal["auto", "fp32", "bf16"], device: torch.device) -> Arithmetic:
    """The precision asked for, and what is faster on this device without being less exact."""
    on_cpu = device.type == "cpu"
    return Arithmetic(choose_precision(name, device), on_cpu and onednn_is_faster(), on_cpu and kernels() is not None)
