"""Places in tensors of more than 2^31 numbers, for which 32 bits are too few.

64 bits cost registers, so a kernel counts in them only where a tensor needs it.
"""

# pyright: basic
# Functions under @triton.jit are in Triton's language, whose tensors have no types.

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

_MOST = 2**31 - 1


@triton.jit
def far(stride, LONG: tl.constexpr):
    """Returns a stride whose products with rows have 64 bits if LONG, else 32."""
    return tl.cast(stride, tl.int64) if LONG else stride


def long(*tensors: Tensor) -> bool:
    """Whether a place in one of the tensors (rows, columns) needs more than 32 bits."""
    return any(len(tensor) * tensor.stride(0) > _MOST for tensor in tensors)
