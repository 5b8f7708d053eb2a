"""The loss of packed rows is that of the padded batch; the kernel visits logits as torch would."""

# pyright: reportCallIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false
# Inputs are lists, of which a call takes as many as it has, and every one of them has a gradient.

from __future__ import annotations

import pytest
import torch
from torch import nn

from nmt.corpus.tokenizer import PAD
from nmt.training.loss import smoothed_cross_entropy
from nmt.training.packed_loss import packed_cross_entropy, plain_cross_entropy
from packs import error

WIDTH = 8


def test_loss_of_rows_is_that_of_the_batch() -> None:
    """With its gradients, in float64; empty rows count nothing."""
    torch.manual_seed(1)
    output = nn.Linear(WIDTH, 30, dtype=torch.float64)
    hidden = torch.randn(3, 5, WIDTH, dtype=torch.float64, requires_grad=True)
    target = torch.randint(4, 30, (3, 5))
    target[0, 3:] = target[2, 1:] = PAD
    inputs = (hidden, output.weight, output.bias)
    padded = smoothed_cross_entropy(hidden, output, target, 0.1)
    packed = packed_cross_entropy(hidden.flatten(0, 1), output.weight, output.bias, target.flatten(), 0.1)
    for mine, reference in zip(*(torch.autograd.grad(loss.total, inputs) for loss in (packed, padded)), strict=True):
        torch.testing.assert_close(mine, reference)
    torch.testing.assert_close(packed.total, padded.total)
    torch.testing.assert_close(packed.negative_log_likelihood, padded.negative_log_likelihood)
    torch.testing.assert_close(packed.each[target.flatten() != PAD], padded.each)
    assert packed.correct == padded.correct


@pytest.mark.parametrize("vocabulary", [5, 37, 128, 20_000], ids=["few", "odd", "whole", "parts"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.usefixtures("interpreter")
def test_kernel_equals_plain_loss(vocabulary: int, smoothing: float) -> None:
    """Forward and backward in fp32 beside float64, with empty rows, for words that fit into a block and that do not."""
    from nmt.fast.triton.loss import projected_cross_entropy

    torch.manual_seed(2)
    shapes = (5, WIDTH), (vocabulary, WIDTH), (vocabulary,)
    exact = [(torch.randn(shape, dtype=torch.float64) * 0.5).requires_grad_() for shape in shapes]
    inputs = [part.detach().float().requires_grad_() for part in exact]
    target = torch.randint(0, vocabulary, (5,), dtype=torch.int32)
    with torch.no_grad():
        inputs[2][int(target[0])] += 9  # one row is right
        exact[2][int(target[0])] += 9
    target[target == PAD] = vocabulary - 1
    target[3] = PAD
    sums, rows, _ = projected_cross_entropy(*inputs, target, smoothing, PAD, True)
    wanted = plain_cross_entropy(*exact, target, smoothing)
    (sums[0] * 0.25).backward()
    (wanted.total * 0.25).backward()
    reference = torch.stack([wanted.total, wanted.negative_log_likelihood, wanted.correct])
    assert error(sums, reference) < 1e-5
    assert error(rows[:, 1], wanted.each) < 1e-5
    assert wanted.correct > 0
    for mine, other in zip(inputs, exact, strict=True):
        torch.testing.assert_close(mine.grad.double(), other.grad, rtol=1e-5, atol=1e-5)
    alone, _, nothing = projected_cross_entropy(*(part.detach() for part in inputs), target, smoothing, PAD, False)
    assert torch.equal(alone, sums)
    assert not nothing.numel()
