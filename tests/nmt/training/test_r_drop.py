"""R-Drop: two passes over each batch and their divergence (Liang et al. 2021)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nmt.corpus.tokenizer import PAD
from nmt.training.loss import consistent_cross_entropy
from tiny import make_batch
from updating import copying_batch, make_updater, remove_dropout

CPU = torch.device("cpu")


@pytest.mark.parametrize("rows", [5, 200])
def test_r_drop_is_its_formula(rows: int) -> None:
    """Values and gradients against the formula written out, in float64, across chunk borders and with padding."""
    torch.manual_seed(3)
    output = torch.nn.Linear(6, 11).double()
    hidden = torch.randn(4, rows, 6, dtype=torch.float64, requires_grad=True)
    target = torch.randint(1, 11, (2, rows))
    target[1, rows // 2 :] = PAD
    ours = consistent_cross_entropy(hidden, output, target, smoothing=0.1, divergence=3.0)
    logits = output(hidden).unflatten(0, (2, 2))
    real = target.ne(PAD)
    one, two = (F.log_softmax(part[real], -1) for part in logits)
    crosses = [F.cross_entropy(part[real], target[real], label_smoothing=0.1, reduction="sum") for part in logits]
    divergence = F.kl_div(two, one, reduction="sum", log_target=True) + F.kl_div(
        one, two, reduction="sum", log_target=True
    )
    theirs = (crosses[0] + crosses[1] + 3.0 / 2 * divergence) / 2
    torch.testing.assert_close(ours.total, theirs)
    parts = (hidden, output.weight, output.bias)
    torch.testing.assert_close(torch.autograd.grad(ours.total, parts), torch.autograd.grad(theirs, parts))


def test_r_drop_without_dropout_is_the_plain_loss() -> None:
    """The two passes are then one and the same."""
    source, lengths = make_batch([4, 3])
    batch = copying_batch(source, lengths)
    plain, drawn = make_updater(), make_updater(r_drop=5.0)
    for updater in (plain, drawn):
        remove_dropout(updater)
    torch.testing.assert_close(drawn.loss(batch, 0.1).total, plain.loss(batch, 0.1).total)
