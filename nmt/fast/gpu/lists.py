"""Work on many tensors that a GPU does in few kernels; torch has it for its own optimizers."""

# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
# The operations have an underscore and are documented nowhere; torch.optim lives on them.

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copies each source into its target, of whatever precision."""
    torch._foreach_copy_(list(targets), list(sources))


def mix_all(targets: Sequence[Tensor], sources: Sequence[Tensor], share: float) -> None:
    """Moves each target by a share of the way to its source."""
    torch._foreach_lerp_(list(targets), list(sources), share)


def subtract_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Subtracts each source from its target."""
    torch._foreach_sub_(list(targets), list(sources))


def scale_all(targets: Sequence[Tensor], factor: Tensor) -> None:
    """Multiplies each target by a number on the device."""
    torch._foreach_mul_(list(targets), factor)
