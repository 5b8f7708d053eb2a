"""Label-smoothed cross entropy of packed rows, with the output projection."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.corpus.tokenizer import PAD
from nmt.fast.triton import usable
from nmt.training.loss import Loss

# N rows, D width, V vocabulary


def packed_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, target: Tensor, smoothing: float) -> Loss:
    """See `nmt.training.loss.smoothed_cross_entropy`; rows whose target is padding count as zero.

    Only the total has a gradient, and `each` is (N,), zero for empty rows. Sums are in fp32 or better.

    Args:
        hidden: (N, D)
        weight: (V, D), in the precision of `hidden`.
        bias: (V,)
        target: (N,)
        smoothing: probability spread over all tokens.
    """
    if usable(hidden):
        from nmt.fast.triton.loss import projected_cross_entropy

        sums, rows, _ = projected_cross_entropy(hidden, weight, bias, target, smoothing, PAD, torch.is_grad_enabled())
        return Loss(sums[0], sums[1].detach(), sums[2].detach(), rows[:, 1].detach())
    return plain_cross_entropy(hidden, weight, bias, target, smoothing)


def plain_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, target: Tensor, smoothing: float) -> Loss:
    """Computes `packed_cross_entropy` by torch's operations."""
    logits = F.linear(hidden, weight, bias)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    real = target.ne(PAD)
    log_p = logits.log_softmax(1)  # (N, V)
    chosen = log_p.gather(1, target.long()[:, None]).squeeze(1)
    smoothed = (1 - smoothing) * chosen + smoothing * log_p.mean(1)
    correct = (chosen >= log_p.amax(1)) & real
    each = torch.where(real, -chosen, 0).detach()
    return Loss(-torch.where(real, smoothed, 0).sum(), each.sum(), correct.sum().to(log_p.dtype), each)
