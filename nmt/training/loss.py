"""Label-smoothed cross entropy fused with the output projection: the logits are never kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.corpus.tokenizer import PAD
from nmt.fast.kernels import kernels_for

_CHUNK = {"cpu": 256, "cuda": 8192}  # rows whose logits are held at once
_COLUMN = 2048  # bytes per column of the logits held at once with kernels: 512 rows of fp32


@dataclass(frozen=True)
class Loss:
    """Sums over the target tokens of a batch, in natural logarithms."""

    total: Tensor
    """Label-smoothed cross entropy; the only part with a gradient."""
    negative_log_likelihood: Tensor
    correct: Tensor
    """Number of tokens that are the most probable prediction."""
    each: Tensor
    """(N,) negative log-likelihood of each token, without padding."""


def smoothed_cross_entropy(
    hidden: Tensor, output: nn.Linear, target: Tensor, smoothing: float, rows: Tensor | None = None
) -> Loss:
    """Computes the cross entropy of targets (B, T) given hidden states (B, T, D), without padding.

    It is the sum over tokens of -(1 - smoothing) log p(y) - smoothing / V sum_v log p(v), as in torch's `cross_entropy`
    (Szegedy et al. 2016, section 7). Products are in the type of the states. `rows` gives the places of the tokens in the flat
    target; without it a GPU must be waited for.
    """
    return Loss(*_projected(hidden, output, target, smoothing, 0.0, rows))


def rewarded(loss: Loss, drawn: Tensor) -> Loss:
    """Adds the gradient of random draws to the loss: REINFORCE (Williams 1992; Xu et al. 2015, equation 12).

    The reward of a draw is the log-likelihood of its token, less the mean of the batch as the baseline. (Xu et al. use a
    running mean and the likelihood of the whole sentence, which varies more.) The value of the loss is unchanged.

    Args:
        loss: the loss of the tokens.
        drawn: (N,) log-probabilities of the draws.
    """
    reward = -loss.each
    surrogate = -((reward - reward.mean()) * drawn).sum()
    return replace(loss, total=loss.total + surrogate - surrogate.detach())


def consistent_cross_entropy(
    hidden: Tensor, output: nn.Linear, target: Tensor, smoothing: float, divergence: float, rows: Tensor | None = None
) -> Loss:
    """Computes the R-Drop loss (Liang et al. 2021): two passes with different dropout are drawn together.

    This is half of their equation 4, so that it weighs as much as one pass: the mean of the two cross entropies, plus
    `divergence` / 4 (KL(P1 || P2) + KL(P2 || P1)).

    Args:
        hidden: states (2 B, T, D), first pass before the second.
        output: projects states to logits.
        target: (B, T).
        smoothing: as in `smoothed_cross_entropy`.
        divergence: alpha in the paper.
        rows: as in `smoothed_cross_entropy`, for one pass.
    """
    twice = None if rows is None else torch.cat([rows, rows + target.numel()])
    total, likelihood, correct, each = _projected(hidden, output, target.repeat(2, 1), smoothing, divergence, twice)
    return Loss(total / 2, likelihood / 2, correct / 2, each)


def _projected(
    hidden: Tensor, output: nn.Linear, target: Tensor, smoothing: float, divergence: float, rows: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    flat = target.flatten()
    if rows is None:
        rows = flat.ne(PAD).nonzero().squeeze(1)
    hidden = hidden.flatten(0, 1).index_select(0, rows)
    options = (smoothing, divergence, torch.is_grad_enabled())
    values: tuple[Tensor, Tensor, Tensor, Tensor] = _ProjectedCrossEntropy.apply(  # type: ignore[no-untyped-call]  # torch's gap
        hidden, output.weight, output.bias, flat.index_select(0, rows), options
    )
    return values


class _ProjectedCrossEntropy(torch.autograd.Function):
    """Computes the logits of one chunk of rows at a time, and takes loss and gradients in the same pass.

    With z = W h + b and p = softmax(z), the gradient by z is p - (1 - e) one_hot(y) - e / V. It is rounded to the type of the
    states once it is whole: p and the target nearly cancel where a model is sure.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, target: Tensor, options: tuple[float, float, bool]
    ) -> Any:
        """Returns sums of loss, negative log-likelihood and correct tokens of hidden (N, D) and target (N,); and NLLs (N,).

        With a divergence, the two halves of the rows are two passes over the same tokens.
        """
        smoothing, divergence, gradients = options
        exact, passes = torch.promote_types(hidden.dtype, torch.float32), 2 if divergence else 1
        matrix, offset = weight.to(hidden.dtype), bias.to(hidden.dtype)
        column_mean, bias_mean = weight.mean(0, dtype=exact), bias.mean(dtype=exact)
        sums = torch.zeros(3, dtype=exact, device=hidden.device)
        each: list[Tensor] = []
        d_hidden: list[Tensor] = []
        d_weight, d_bias = torch.zeros_like(weight, dtype=exact), torch.zeros_like(bias, dtype=exact)
        states, labels = hidden.unflatten(0, (passes, -1)), target.unflatten(0, (passes, -1))
        fast = kernels_for(hidden)
        chunk = (_COLUMN // hidden.itemsize if fast else _CHUNK[hidden.device.type]) // passes
        room = hidden.new_empty(
            (chunk * passes, len(weight)) if fast else 0
        )  # memory for the logits of one chunk after the other
        for part, label in zip(states.split(chunk, 1), labels.split(chunk, 1), strict=True):
            x, y = part.flatten(0, 1), label.flatten()
            columns = d_bias if gradients else None
            if fast:  # a product is faster without a bias
                logits = torch.mm(x, matrix.t(), out=room[: len(x)])
                found = fast.cross_entropy(logits, y, smoothing, divergence / 2 or None, columns, bias.float())
                visited = _Visited(*found, logits)
            else:
                visited = _visit(F.linear(x, matrix, offset), y, smoothing, divergence / 2, columns)
            each.append(visited.negative.unflatten(0, (passes, -1)))
            mean_logit = x.to(exact) @ column_mean + bias_mean
            smoothed = (1 - smoothing) * visited.negative + smoothing * (visited.log_normaliser - mean_logit)
            total = smoothed.sum() + divergence / 2 * visited.apart.sum()
            sums += torch.stack([total, visited.negative.sum(), visited.right.sum().to(exact)])
            if gradients:
                d_hidden.append((visited.by_logits @ matrix).unflatten(0, (passes, -1)))
                _add_product(d_weight, visited.by_logits, x, together=fast is not None)
        total, likelihood, correct = sums.unbind()
        negatives = torch.cat(each, 1).flatten()
        ctx.mark_non_differentiable(likelihood, correct, negatives)
        if not gradients:
            return total, likelihood, correct, negatives
        d_states = torch.cat(d_hidden, 1).flatten(0, 1)
        ctx.save_for_backward(d_states, d_weight.to(weight.dtype), d_bias.to(bias.dtype))
        return total, likelihood, correct, negatives

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Scales the gradients computed in `forward` by the gradient of the total."""
        d_states, d_weight, d_bias = ctx.saved_tensors
        scale = gradients[0]
        return d_states * scale.to(d_states.dtype), d_weight * scale, d_bias * scale, None, None


class _Visited(NamedTuple):
    """Values that the loss needs from logits (N, V). With a divergence the second half of the rows is another pass."""

    negative: Tensor
    """(N,) negative log-likelihoods."""
    log_normaliser: Tensor
    """(N,) log sum_v e^z_v."""
    right: Tensor
    """(N,) whether the target is the most probable token."""
    apart: Tensor
    """(N / 2,) KL(P1 || P2) + KL(P2 || P1); empty without a divergence."""
    by_logits: Tensor
    """(N, V) gradient of the smoothed cross entropy and the weighted divergence; undefined if no gradient is wanted."""


def _add_product(total: Tensor, left: Tensor, right: Tensor, together: bool) -> None:
    """Adds left^T right to the total; with `together` and equal types, in one operation."""
    if together and total.dtype == left.dtype:
        total.addmm_(left.t(), right)
    else:
        total += left.t() @ right


def _visit(logits: Tensor, target: Tensor, smoothing: float, weight: float, columns: Tensor | None) -> _Visited:
    """Computes `_Visited` of logits (N, V) and targets (N,) by torch's operations, for a divergence of that weight.

    The gradients are summed over rows and added to `columns` (V,) if given.
    """
    place = target[:, None]
    z = logits.to(torch.promote_types(logits.dtype, torch.float32))
    chosen, highest, p = z.gather(1, place).squeeze(1), z.amax(1), z.softmax(1)
    log_normaliser = highest - p.amax(1).log()
    apart, by_divergence = _divergence(z - log_normaliser[:, None], p) if weight else (z.new_empty(0), None)
    if columns is not None:
        p = p - smoothing / p.shape[1]
        p.scatter_(1, place, p.gather(1, place) - (1 - smoothing))
        if by_divergence is not None:
            p.add_(by_divergence, alpha=weight)
        columns += p.sum(0)
    return _Visited(log_normaliser - chosen, log_normaliser, chosen.ge(highest), apart, p.to(logits.dtype))


def _divergence(log_p: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Returns KL(P1 || P2) + KL(P2 || P1) (n,) of the two halves of the rows (2 n, V), and its gradient by the logits.

    By the logits of P1 it is p1 (log p1 - log p2 - KL(P1 || P2)) + p1 - p2; by those of P2 the roles are swapped.
    """
    gap = log_p - log_p.roll(len(log_p) // 2, 0)  # log p1 - log p2, then log p2 - log p1
    each = (p * gap).sum(1, keepdim=True)  # (2 n, 1)
    return each.unflatten(0, (2, -1)).sum((0, 2)), (gap - each + 1) * p - p.roll(len(p) // 2, 0)
