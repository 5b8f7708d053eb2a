"""The fused loss equals torch's cross entropy, values and gradients, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from nmt.corpus.tokenizer import PAD
from nmt.training.loss import consistent_cross_entropy, smoothed_cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [5, 300])
def test_loss_and_gradients_equal_torch(smoothing: float, rows: int) -> None:
    """Across chunk borders and with padding."""
    torch.manual_seed(3)
    output = torch.nn.Linear(6, 11).double()
    hidden = torch.randn(2, rows, 6, dtype=torch.float64, requires_grad=True)
    target = torch.randint(1, 11, (2, rows))
    target[1, rows // 2 :] = PAD
    ours = smoothed_cross_entropy(hidden, output, target, smoothing)
    logits = output(hidden).flatten(0, 1)
    labels = target.flatten().masked_fill(target.flatten() == PAD, -100)
    theirs = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(ours.total, theirs)
    parts = (hidden, output.weight, output.bias)
    expected = torch.autograd.grad(theirs * 0.5, parts)
    torch.testing.assert_close(torch.autograd.grad(ours.total * 0.5, parts), expected)
    plain = F.cross_entropy(logits, labels, reduction="sum")
    torch.testing.assert_close(ours.negative_log_likelihood, plain)
    assert ours.correct.item() == (logits.argmax(1) == labels).sum().item()


def test_no_gradient_is_made_where_none_is_wanted() -> None:
    """Without gradient tracking the fused loss has the same value and no graph."""
    output, hidden = torch.nn.Linear(6, 11), torch.randn(1, 4, 6)
    target = torch.randint(1, 11, (1, 4))
    with torch.no_grad():
        still = smoothed_cross_entropy(hidden, output, target, 0.1).total
    assert not still.requires_grad
    torch.testing.assert_close(still, smoothed_cross_entropy(hidden, output, target, 0.1).total.detach())


def test_huge_logits_stay_finite() -> None:
    """The normaliser is taken from the largest logit."""
    output = torch.nn.Linear(4, 7)
    with torch.no_grad():
        output.weight.mul_(1e4)
    loss = smoothed_cross_entropy(torch.randn(1, 3, 4), output, torch.tensor([[1, 2, 3]]), 0.1)
    assert loss.total.isfinite()


@pytest.mark.parametrize("divergence", [0.0, 3.0], ids=["plain", "r-drop"])
@pytest.mark.parametrize("compiled", [False, True], ids=["torch", "kernels"])
def test_gradients_of_sure_models_lose_nothing_in_bf16(
    compiled: bool, divergence: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where p is near one, p and the target nearly cancel: they are subtracted before anything is rounded."""
    if not compiled:
        monkeypatch.setattr("nmt.training.loss.kernels_for", lambda _: None)
    torch.manual_seed(5)
    output = torch.nn.Linear(16, 40, dtype=torch.bfloat16)
    target = torch.arange(4, 40)[None]
    hidden = (output.weight[4:] * 40).detach()[None].repeat(2 if divergence else 1, 1, 1).requires_grad_()

    def gradients(hidden: torch.Tensor, output: torch.nn.Linear) -> list[torch.Tensor]:
        if divergence:
            loss = consistent_cross_entropy(hidden, output, target, 0.0, divergence)
        else:
            loss = smoothed_cross_entropy(hidden, output, target, 0.0)
        return [part.double() for part in torch.autograd.grad(loss.total, (hidden, output.weight, output.bias))]

    found = gradients(hidden, output)
    exact = gradients(hidden.detach().double().requires_grad_(), copy.deepcopy(output).double())
    likelihoods = output(hidden).double().log_softmax(-1)[0].gather(1, target.T)
    assert likelihoods.exp().median() > 0.9
    for mine, wanted in zip(found, exact, strict=True):
        assert (mine - wanted).norm() < 0.02 * wanted.norm()
