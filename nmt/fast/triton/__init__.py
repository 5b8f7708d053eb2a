"""Kernels in Triton, which is optional and comes with torch's CUDA build. This file tells whether they can be used.

Only files of this folder import triton, and only `nmt.fast` imports these files, inside functions.
"""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch
from torch import Tensor

_DTYPES = (torch.float32, torch.bfloat16)
_OLDEST = 8  # compute capability that has bf16


_TRITON = importlib.util.find_spec("triton") is not None
_COMPILER = any(name and shutil.which(name) for name in (os.environ.get("CC"), "cc", "gcc", "clang"))


def usable(tensor: Tensor) -> bool:
    """Whether the kernels can process a tensor: it is on a GPU, in fp32 or bf16, and `missing` is None."""
    return tensor.is_cuda and tensor.dtype in _DTYPES and missing() is None


def missing() -> str | None:
    """Returns why the kernels cannot be used on this machine, as a clause for a message; None if they can."""
    if not _TRITON:
        return "Triton is not installed (pip install triton)"
    if not _COMPILER:
        return "Triton finds no C compiler (set CC, or install gcc)"
    if torch.cuda.is_available() and torch.cuda.get_device_properties(torch.cuda.current_device()).major < _OLDEST:
        return "the GPU is older than Triton's kernels ask for (compute capability 8.0)"
    return None
