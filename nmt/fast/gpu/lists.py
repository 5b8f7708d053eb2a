"""Operations on many tensors in few GPU kernels, as torch's own optimizers use them."""

# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
# These operations are private and undocumented, but torch.optim depends on them.

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copies each source into its target, in any precision.

    Sources of one precision are copied together: for a mixture torch launches a kernel for each tensor.
    """
    alike: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for target, source in zip(targets, sources, strict=True):
        into, out_of = alike.setdefault(source.dtype, ([], []))
        into.append(target)
        out_of.append(source)
    for into, out_of in alike.values():
        torch._foreach_copy_(into, out_of)


def mix_all(targets: Sequence[Tensor], sources: Sequence[Tensor], share: float) -> None:
    """Moves each target towards its source by a share of the difference.

    Whole tensors and those that processes divide are moved apart, as torch mixes them in no operation.
    """
    alike: dict[type[Tensor], tuple[list[Tensor], list[Tensor]]] = {}
    for target, source in zip(targets, sources, strict=True):
        into, out_of = alike.setdefault(type(target), ([], []))
        into.append(target)
        out_of.append(source)
    for into, out_of in alike.values():
        torch._foreach_lerp_(into, out_of, share)


def subtract_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Subtracts each source from its target."""
    torch._foreach_sub_(list(targets), list(sources))


def scale_all(targets: Sequence[Tensor], factor: Tensor) -> None:
    """Multiplies each target by a scalar on the device."""
    torch._foreach_mul_(list(targets), factor)
