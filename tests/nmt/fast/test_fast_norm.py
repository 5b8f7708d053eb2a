"""Dropout, residual sum and norm in one pass, and the activation, are what torch makes of them one after another."""

# pyright: reportCallIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false
# Inputs are lists, of which a call takes as many as it has, and every one of them has a gradient.

from __future__ import annotations

import pytest
import torch

from nmt.fast.gpu.norm import activated, activated_product, residual_norm
from packs import error

SEED = torch.tensor([99])


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize(("rows", "width"), [(1, 16), (37, 48), (3, 2050)], ids=["row", "rows", "wide"])
@pytest.mark.usefixtures("interpreter")
def test_norm_kernel_equals_torch(rows: int, width: int, norm: str, dropout: float) -> None:
    """Forward and backward in fp32 beside float64, whichever of the two results is used."""
    from nmt.fast.triton.norm import residual_norm as kernel

    torch.manual_seed(4)
    shapes = [(rows, width)] * 2 + [(width,)] * 2
    exact = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    inputs = [part.detach().float().requires_grad_() for part in exact]
    gradients = torch.randn(2, rows, width, dtype=torch.float64)
    if norm == "rms":
        exact, inputs = exact[:3], inputs[:3]
    rest = [None] * (4 - len(exact))
    shifts = [] if rows == 1 else [torch.randn(width, dtype=torch.float64, requires_grad=True)]
    narrow = [part.detach().float().requires_grad_() for part in shifts]
    wanted = residual_norm(*exact, *rest, *(shifts or [None]), dropout=dropout, seed=SEED)
    found = kernel(*inputs, *rest, *(narrow or [None]), SEED, 1e-5, dropout)
    alone = residual_norm(None, *exact[1:], *rest, dropout=dropout, seed=SEED)
    by_kernel = kernel(None, *inputs[1:], *rest, None, SEED, 1e-5, dropout)
    assert max(map(error, by_kernel, alone)) < 1e-5
    mine = torch.autograd.grad(by_kernel, inputs[1:], list(gradients.float()))
    assert max(map(error, mine, torch.autograd.grad(alone, exact[1:], list(gradients)))) < 1e-5
    exact, inputs = exact + shifts, inputs + narrow
    assert max(map(error, found, wanted)) < 1e-5
    for used in (slice(0, 2), slice(1, 2)):
        mine = torch.autograd.grad(found[used], inputs, list(gradients.float()[used]), True)
        reference = torch.autograd.grad(wanted[used], exact, list(gradients[used]), True)
        assert max(map(error, mine, reference)) < 1e-5


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.usefixtures("interpreter")
def test_activation_kernel_equals_torch(activation: str, dropout: float) -> None:
    """Forward and backward in fp32 beside float64."""
    from nmt.fast.triton.norm import activated as kernel

    exact = torch.randn(37, 100, dtype=torch.float64, requires_grad=True)
    inputs, gradient = exact.detach().float().requires_grad_(), torch.randn(37, 100, dtype=torch.float64)
    found, wanted = kernel(inputs, SEED, activation == "gelu", dropout), activated(exact, activation, dropout, SEED)
    found.backward(gradient.float())
    wanted.backward(gradient)
    assert error(found, wanted) < 1e-5
    assert error(inputs.grad, exact.grad) < 1e-5


@pytest.mark.parametrize(("rows", "inner"), [(1, 16), (37, 300)], ids=["row", "rows"])
@pytest.mark.usefixtures("interpreter")
def test_rectified_product_equals_torch(rows: int, inner: int) -> None:
    """Forward and backward in fp32 beside float64."""
    from nmt.fast.triton.rectified import rectified_product as kernel

    torch.manual_seed(5)
    exact = [
        torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((rows, 24), (inner, 24), (inner,))
    ]
    inputs = [part.detach().float().requires_grad_() for part in exact]
    wanted, found = activated_product(*exact, "relu"), kernel(*inputs)
    assert error(found, wanted) < 1e-5
    gradient = torch.randn(rows, inner, dtype=torch.float64)
    mine = torch.autograd.grad(found, inputs, gradient.float())
    assert max(map(error, mine, torch.autograd.grad(wanted, exact, gradient))) < 1e-5


@pytest.mark.parametrize(("rows", "width"), [(1, 16), (700, 300), (9000, 33)], ids=["row", "rows", "many"])
@pytest.mark.usefixtures("interpreter")
def test_sums_of_columns_are_the_gradient_of_a_bias(rows: int, width: int) -> None:
    """In fp32 beside float64, of rows that stand apart too."""
    from nmt.fast.triton.columns import summed

    torch.manual_seed(6)
    values = torch.randn(rows, 2 * width, dtype=torch.float64)
    assert error(summed(values.float()[:, :width]), values[:, :width].sum(0)) < 1e-5


@pytest.mark.usefixtures("interpreter")
def test_shares_of_several_vectors_are_added_up() -> None:
    """More shares than are added at once, and columns that fill no block."""
    from nmt.fast.triton.columns import totals

    shares = torch.randn(3, 600, 40, dtype=torch.float64)
    assert error(totals(shares.float(), torch.float32), shares.sum(1)) < 1e-5
