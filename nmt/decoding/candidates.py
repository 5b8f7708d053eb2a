"""The best extensions of hypotheses by one token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.decoding.rules import Extension, Rule
from nmt.fast.kernels import kernels_for
from nmt.models.protocol import log_softmax

# B sentences, K beam, R = B * K rows, V vocabulary

Best = tuple[Tensor, Tensor, Tensor]
"""Values, rows within the sentence and tokens, each (B, count), best first."""


def extend(
    scores: Tensor,
    logits: Tensor,
    count: int,
    rules: Sequence[Rule],
    extension: Extension,
    at_limit: Tensor | None,
) -> Best:
    """Returns the `count` best extensions of each sentence by the logits of a step; see `best_extensions`.

    Args:
        scores: (B, K) log-probabilities of the hypotheses so far.
        logits: (R, V)
        count: extensions wanted per sentence.
        rules: applied in order to the log-probabilities.
        extension: the hypotheses to extend.
        at_limit: (B,) True for sentences whose hypotheses must end; None: none must.
    """
    fast = kernels_for(logits)
    if fast is not None and not rules:
        return fast.best_extensions(scores, logits, count, normalised=False, at_limit=at_limit)
    log_probabilities = log_softmax(logits)
    apply_rules(rules, log_probabilities, extension, at_limit)
    return best_extensions(scores, log_probabilities, count)


def apply_rules(
    rules: Sequence[Rule], log_probabilities: Tensor, extension: Extension, at_limit: Tensor | None
) -> None:
    """Applies the rules, and two fixed ones: no padding or BOS, and at the length limit a hypothesis ends."""
    end = log_probabilities[:, EOS].clone()
    log_probabilities[:, PAD] = log_probabilities[:, BOS] = -torch.inf
    for rule in rules:
        rule(log_probabilities, extension)
    if at_limit is None:
        return
    rows = at_limit.repeat_interleave(extension.beam)
    log_probabilities.masked_fill_(rows[:, None], -torch.inf)
    log_probabilities[:, EOS] = torch.where(rows, end, log_probabilities[:, EOS])


def best_extensions(scores: Tensor, log_probabilities: Tensor, count: int) -> Best:
    """Returns the `count` best of all K * V extensions of each sentence.

    Without kernels, a large vocabulary is folded into stripes, and the maximum of each column is found first. The best
    extensions must lie in the `count` columns with the highest maxima. This costs a fraction of a sort.
    """
    if (fast := kernels_for(log_probabilities)) is not None:
        return fast.best_extensions(scores, log_probabilities, count, normalised=True)
    beam, size = scores.shape[1], log_probabilities.shape[1]
    if size < _STRIPES * 8 * count or log_probabilities.numel() < _WORTH_FOLDING:
        values = (log_probabilities.unflatten(0, (-1, beam)) + scores[:, :, None]).flatten(1)  # (B, K * V)
        missing = max(0, count - values.shape[1])  # a vocabulary smaller than the beam
        values, places = F.pad(values, (0, missing), value=-torch.inf).topk(count, 1)
        places = places.clamp_(max=beam * size - 1)
        return values, torch.div(places, size, rounding_mode="floor"), places % size
    columns = size // _STRIPES
    folded = _STRIPES * columns
    maxima = log_probabilities[:, :folded].unflatten(1, (_STRIPES, columns)).amax(1)  # (R, columns)
    _, origins, chosen = best_extensions(scores, maxima, count)
    every = torch.arange(size, device=scores.device)
    tokens = (chosen[:, None] + every[:folded:columns, None]).flatten(1)
    origins = origins[:, None].expand(-1, _STRIPES, -1).flatten(1)
    if size > folded:  # tokens that fill no whole column
        tokens = torch.cat([tokens, every[folded:].repeat(beam).expand(len(scores), -1)], 1)
        rest = torch.arange(beam, device=scores.device).repeat_interleave(size - folded)
        origins = torch.cat([origins, rest.expand(len(scores), -1)], 1)
    rows = origins + torch.arange(len(scores), device=scores.device)[:, None] * beam
    values = log_probabilities[rows, tokens] + scores.gather(1, origins)  # (B, candidates)
    values, places = values.topk(count, 1)
    return values, origins.gather(1, places), tokens.gather(1, places)


_STRIPES, _WORTH_FOLDING = 8, 40_000  # numbers
