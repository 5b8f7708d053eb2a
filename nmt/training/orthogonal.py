"""The parts of Muon (Jordan et al. 2024): Nesterov's momentum, and the steps of Newton and Schulz that orthogonalise it."""

from __future__ import annotations

import torch
from torch import Tensor

from nmt.runtime.cpu import has_fast_bf16


def orthogonal(matrices: Tensor) -> Tensor:
    """Drives the singular values of matrices (N, rows, columns) to about one: to 0.7 to 1.2 unless they are tiny.

    Uses five of the quintic Newton-Schulz steps of Jordan et al. 2024. For fp32 they run in bf16 where that is fast, which
    adds little to their error.
    """
    rows, columns = matrices.shape[1:]
    half = matrices.dtype == torch.float32 and (matrices.is_cuda or has_fast_bf16())
    dtype = torch.bfloat16 if half else matrices.dtype
    found = iterated((matrices.mT if rows > columns else matrices).to(dtype))
    return (found.mT if rows > columns else found).to(matrices.dtype)


def iterated(matrices: Tensor) -> Tensor:
    """Runs the steps of `orthogonal` on matrices (N, rows, columns) in their precision; columns of zeros change nothing."""
    found = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=-4.775, alpha=2.0315), found, beta=3.4445)
    return found


def nesterov(moments: Tensor, gradients: Tensor, momentum: float, found_inf: Tensor | None) -> Tensor:
    """Moves `moments` towards `gradients` and returns Nesterov's momentum; one in `found_inf` leaves `moments` unchanged."""
    if found_inf is not None:
        gradients = torch.where(found_inf.bool(), moments, gradients)
    moments.lerp_(gradients, 1 - momentum)
    return gradients.lerp(moments, momentum)
