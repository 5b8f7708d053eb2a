"""The kernels are operations that torch's compiler and its graphs can take: their shapes and gradients are declared."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

from packs import spans

SEED = torch.tensor([1])


def _arguments() -> dict[str, tuple[Any, ...]]:
    """Of one call of each operation."""
    torch.manual_seed(1)
    places = spans([2, 1], [2, 1], empty=1)
    rows, vector = [torch.randn(4, 32, requires_grad=True) for _ in range(3)], torch.randn(32, requires_grad=True)
    weight, bias = torch.randn(7, 32, requires_grad=True), torch.randn(7, requires_grad=True)
    target = torch.tensor([4, 5, 0, 6])
    return {
        "packed_attention": (*rows, *places, None, SEED, 2, False, 0.1, 0.2),
        "projected_cross_entropy": (rows[0], weight, bias, target, 0.1, 0, True),
        "residual_norm": (rows[0], rows[1], vector, vector, vector, SEED, 1e-5, 0.1),
        "activated": (rows[0], SEED, True, 0.1),
        "rectified_product": (rows[0], weight, bias),
    }


@pytest.mark.parametrize("name", sorted(_arguments()))
@pytest.mark.usefixtures("interpreter")
def test_operations_are_declared(name: str) -> None:
    """By torch's own check: schema, fake tensors, gradients."""
    for module in ("attention", "loss", "norm", "rectified"):  # they declare them
        importlib.import_module(f"nmt.fast.triton.{module}")
    operation = getattr(torch.ops.nmt, name).default
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(operation, _arguments()[name], test_utils=checks)
