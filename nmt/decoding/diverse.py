"""Diverse beam search (Vijayakumar et al. 2018): groups of hypotheses that avoid each other's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import BOS, EOS
from nmt.decoding.beam_search import Finished, Hypothesis, length_limits, length_penalty
from nmt.decoding.candidates import apply_rules, best_extensions
from nmt.decoding.rules import Extension, Rule
from nmt.models.protocol import Seq2Seq, log_softmax

# B sentences, G groups of W hypotheses each, K = G * W beam, R = B * K rows, V vocabulary, T positions so far


@torch.inference_mode()
def diverse_beam_search(
    model: Seq2Seq[Any, Any],
    source: Tensor,
    lengths: Tensor,
    config: SearchConfig,
    best: int = 1,
    rules: Sequence[Rule] = (),
) -> list[list[Hypothesis]]:
    """Returns the `best` hypotheses of each sentence from all groups, best first.

    At each step the groups choose one after the other. A token costs `config.diversity` for each time that earlier groups
    chose it in this step (Hamming diversity, section 4). This cost decides which hypotheses are kept and never enters a
    score. For the arguments see `nmt.decoding.beam_search.beam_search`.
    """
    device, groups, width = source.device, config.groups, config.beam // config.groups
    penalty, limits = length_penalty(config), length_limits(lengths.to(device), config, rules)
    shortest, longest = int(limits.min()), int(limits.max())
    everyone = torch.arange(len(source), device=device)
    first_rows = torch.arange(0, len(source) * config.beam, config.beam, device=device)[:, None]  # (B, 1), per sentence
    state = model.start(model.encode(source, lengths), config.beam)
    tokens = torch.full((len(source), config.beam), BOS, device=device)  # (B, K)
    history = tokens.new_zeros((tokens.numel(), 0))  # (R, T)
    finished = [Finished.empty(len(source), width, longest, device) for _ in range(groups)]
    scores = torch.full((len(source), groups, width), -torch.inf, dtype=torch.float64, device=device)
    scores[:, :, 0] = 0  # all rows of a group are the same empty hypothesis: keep one
    for length in range(1, longest + 1):
        logits, state = model.step(state, tokens.flatten())
        log_probabilities = log_softmax(logits)  # (R, V)
        at_limit = limits == length if length >= shortest else None
        apply_rules(rules, log_probabilities, Extension(everyone, history, config.beam, limits), at_limit)
        each = log_probabilities.unflatten(0, (-1, groups, width))  # (B, G, W, V)
        said = log_probabilities.new_zeros((len(source), each.shape[-1]))  # (B, V) times chosen by the groups before
        rows = torch.empty_like(tokens)
        for group in range(groups):
            place = slice(group * width, (group + 1) * width)
            allowed = (each[:, group] - config.diversity * said[:, None]).flatten(0, 1)  # (B * W, V)
            augmented, origins, chosen = best_extensions(scores[:, group], allowed, 2 * width)  # each (B, 2W)
            every = each[:, group].flatten(1)  # (B, W * V)
            own = every.gather(1, origins * each.shape[-1] + chosen) + scores[:, group].gather(1, origins)
            values = own.masked_fill(~augmented.isfinite(), -torch.inf)  # without the cost of diversity
            origins = first_rows + place.start + origins
            ends = (chosen == EOS) & values.isfinite()
            finished[group].add(everyone, values, penalty(values.new_tensor(length)), ends, history, origins, at_limit)
            keep = augmented.masked_fill(ends, -torch.inf).topk(width, 1).indices
            alive = values.masked_fill(ends, -torch.inf).gather(1, keep)
            reach = alive.amax(1) / penalty(limits.to(alive))
            closed = finished[group].closes(config.stopping, min(best, width), everyone, reach)
            scores[:, group] = alive.masked_fill(closed[:, None], -torch.inf)
            rows[:, place], tokens[:, place] = origins.gather(1, keep), chosen.gather(1, keep)
            said.scatter_add_(1, tokens[:, place], alive.isfinite().to(said))  # what is closed chose arbitrary ones
            said[:, EOS] += ends[:, :width].sum(1)
        if not bool(scores.isfinite().any()):
            break
        state = model.reorder(state, rows.flatten(), config.beam)
        history = torch.cat([history[rows.flatten()], tokens.view(-1, 1)], 1)
    return _merged([group.hypotheses(width) for group in finished], best)


def _merged(groups: list[list[list[Hypothesis]]], best: int) -> list[list[Hypothesis]]:
    """Merges the groups and returns the best of each sentence; equal translations count once."""
    results: list[list[Hypothesis]] = []
    for found in zip(*groups, strict=True):
        unique = {tuple(item.tokens): item for group in reversed(found) for item in group}
        results.append(sorted(unique.values(), key=lambda item: -item.score)[:best])
    return results
