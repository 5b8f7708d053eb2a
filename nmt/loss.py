"""Label-smoothed cross entropy fused with the output projection: the logits are never kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.tokenizer import PAD

_CHUNK = {"cpu": 256, "cuda": 8192}  # rows whose logits are held at once


@dataclass(frozen=True)
class Loss:
    """Sums over the target tokens of a batch; natural logarithms."""

    total: Tensor
    """Label-smoothed cross entropy; the only part with a gradient."""
    negative_log_likelihood: Tensor
    correct: Tensor
    """Tokens whose most probable prediction is right."""


def smoothed_cross_entropy(hidden: Tensor, output: nn.Linear, target: Tensor, smoothing: float) -> Loss:
    """Cross entropy of targets (B, T) given hidden states (B, T, D), padding left out.

    sum over tokens of -(1 - smoothing) log p(y) - smoothing / V sum_v log p(v), as torch's `cross_entropy` has it
    (Szegedy et al. 2016, section 7).
    """
    flat = target.flatten()
    rows = flat.ne(PAD).nonzero().squeeze(1)
    hidden = hidden.flatten(0, 1).index_select(0, rows)
    values: tuple[Tensor, Tensor, Tensor] = _ProjectedCrossEntropy.apply(  # type: ignore[no-untyped-call]  # torch's gap
        hidden, output.weight, output.bias, flat.index_select(0, rows), smoothing, torch.is_grad_enabled()
    )
    return Loss(*values)


class _ProjectedCrossEntropy(torch.autograd.Function):
    """Logits of a chunk of rows at a time: their loss and their gradients are taken in the same pass.

    With z = W h + b and p = softmax(z), the gradient by z is p - (1 - e) one_hot(y) - e / V. Only p needs a product; the
    other two terms touch one row per token, or are of rank one.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, target: Tensor, smoothing: float, gradients: bool
    ) -> Any:
        """Sums of loss, negative log-likelihood and correct tokens over hidden (N, D) and target (N,)."""
        exact = torch.promote_types(hidden.dtype, torch.float32)
        matrix, offset = weight.to(hidden.dtype), bias.to(hidden.dtype)
        column_mean, bias_mean = weight.mean(0, dtype=exact), bias.mean(dtype=exact)
        sums = torch.zeros(3, dtype=exact, device=hidden.device)
        d_hidden: list[Tensor] = []
        d_weight, d_bias = torch.zeros_like(weight, dtype=exact), torch.zeros_like(bias, dtype=exact)
        chunk = _CHUNK[hidden.device.type]
        for x, y in zip(hidden.split(chunk), target.split(chunk), strict=True):
            z = F.linear(x, matrix, offset).to(exact)  # (rows, V)
            chosen, highest = z.gather(1, y[:, None]).squeeze(1), z.amax(1)
            p = z.softmax(1)
            log_normaliser = highest - p.amax(1).log()
            negative = log_normaliser - chosen
            mean_logit = x.to(exact) @ column_mean + bias_mean
            smoothed = (1 - smoothing) * negative + smoothing * (log_normaliser - mean_logit)
            sums += torch.stack([smoothed.sum(), negative.sum(), chosen.ge(highest).sum().to(exact)])
            if gradients:
                d_bias += p.sum(0)
                p = p.to(hidden.dtype)
                d_hidden.append(p @ matrix)
                d_weight += p.t() @ x
        total, likelihood, correct = sums.unbind()
        ctx.mark_non_differentiable(likelihood, correct)
        if not gradients:
            return total, likelihood, correct
        d_states = torch.cat(d_hidden).sub_(smoothing * column_mean.to(hidden.dtype))
        d_states.sub_(matrix.index_select(0, target), alpha=1 - smoothing)
        states, ones = hidden.to(exact), torch.ones_like(target, dtype=exact)
        d_weight.sub_(smoothing / len(weight) * states.sum(0)).index_add_(0, target, states, alpha=smoothing - 1)
        d_bias.sub_(smoothing / len(weight) * len(target)).index_add_(0, target, ones, alpha=smoothing - 1)
        ctx.save_for_backward(d_states, d_weight.to(weight.dtype), d_bias.to(bias.dtype))
        return total, likelihood, correct

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Scales the gradients that `forward` has made by that of the total."""
        d_states, d_weight, d_bias = ctx.saved_tensors
        scale = gradients[0]
        return d_states * scale.to(d_states.dtype), d_weight * scale, d_bias * scale, None, None, None
