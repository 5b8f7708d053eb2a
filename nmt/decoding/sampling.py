"""Ancestral sampling from the whole or a truncated distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nmt.config.search import SamplingConfig, SearchConfig
from nmt.corpus.tokenizer import BOS, EOS
from nmt.decoding.beam_search import Hypothesis, length_limits, length_penalty
from nmt.decoding.candidates import apply_rules
from nmt.decoding.rules import Extension, Rule
from nmt.models.protocol import Seq2Seq, log_softmax
from nmt.runtime.device import draws

# B sentences, K samples per sentence, R = B * K rows, V vocabulary, T positions so far


@torch.inference_mode()
def sample(
    model: Seq2Seq[Any, Any],
    source: Tensor,
    lengths: Tensor,
    config: SearchConfig,
    sampling: SamplingConfig,
    numbers: Sequence[int],
    rules: Sequence[Rule] = (),
) -> list[list[Hypothesis]]:
    """Draws `config.beam` translations of each sentence, in the order of drawing.

    The random numbers of a sentence depend only on the seed and its number, so batching does not change the samples.

    Args:
        model: any model that follows `Seq2Seq`.
        source: (B, S) token ids, padded.
        lengths: (B,) source lengths, on the CPU.
        config: samples per sentence (`beam`), length penalty of the scores, and limits.
        sampling: temperature, truncation and seed.
        numbers: a number for each sentence, e.g. its line in the file.
        rules: applied to the log-probabilities of each step before the truncation.
    """
    device, count = source.device, config.beam
    limits = length_limits(lengths.to(device), config, rules)  # (B,)
    longest = int(limits.max())
    uniform = torch.from_numpy(_uniform(sampling.seed, numbers, count, longest)).to(device)  # (R, longest)
    state = model.start(model.encode(source, lengths), count)
    everyone = torch.arange(len(source), device=device)
    tokens = torch.full((len(uniform),), BOS, device=device)  # (R,)
    history = tokens.new_zeros((len(tokens), 0))  # (R, T)
    said: list[Tensor] = []
    for length in range(1, longest + 1):
        logits, state = model.step(state, tokens)
        log_probabilities = log_softmax(logits)  # (R, V)
        before = log_probabilities.clone()
        apply_rules(rules, log_probabilities, Extension(everyone, history, count, limits), limits == length)
        if rules:  # which may leave nothing to be said: then the translation ends
            stuck = torch.isneginf(log_probabilities).all(1)
            log_probabilities[:, EOS].masked_fill_(stuck, 0.0)
        weights = (
            truncated(log_probabilities / sampling.temperature, sampling).double().softmax(-1).cumsum(-1)
        )  # (R, V)
        draws = uniform[:, length - 1 : length] * weights[:, -1:]
        tokens = torch.searchsorted(weights, draws, right=True).clamp_(max=weights.shape[1] - 1).squeeze(1)  # (R,)
        said.append(before.gather(1, tokens[:, None]).squeeze(1))
        history = torch.cat([history, tokens[:, None]], 1)
        if bool((history == EOS).any(1).all()):
            break
    return _collect(history, torch.stack(said, 1), limits, config)


def truncated(log_probabilities: Tensor, sampling: SamplingConfig) -> Tensor:
    """Returns unnormalised log-probabilities (R, V) with -inf for truncated tokens; the most probable token stays.

    Truncations are top-k (Fan et al. 2018), nucleus (Holtzman et al. 2020), epsilon (Hewitt et al. 2022, section 3.1) and
    min-p (Nguyen et al. 2024). The threshold of min-p is a share of the largest probability.
    """
    probabilities = log_probabilities.softmax(-1)
    keep = torch.ones_like(probabilities, dtype=torch.bool)
    if sampling.top_k:
        kth = probabilities.topk(min(sampling.top_k, probabilities.shape[1]), 1).values[:, -1:]
        keep &= probabilities >= kth
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(1, descending=True)
        within = ordered.cumsum(1) - ordered < sampling.top_p  # the tokens before this one do not fill the nucleus
        keep &= torch.zeros_like(keep).scatter(1, order, within)
    largest = probabilities.amax(1, keepdim=True)
    keep &= probabilities >= torch.clamp(largest * sampling.min_p, min=sampling.epsilon)
    return log_probabilities.masked_fill(~(keep | (probabilities == largest)), -torch.inf)


def _uniform(seed: int, numbers: Sequence[int], count: int, longest: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns numbers in [0, 1), one row per sample; a row begins with the same numbers for any `longest`."""
    rows = [draws(seed, number, index).random(longest) for number in numbers for index in range(count)]
    return np.stack(rows)


def _collect(history: Tensor, said: Tensor, limits: Tensor, config: SearchConfig) -> list[list[Hypothesis]]:
    penalty, count = length_penalty(config), config.beam
    lengths = (history == EOS).int().argmax(1) + 1  # (R,) end counted
    inside = torch.arange(history.shape[1], device=history.device) < lengths[:, None]
    sums = said.double().masked_fill(~inside, 0.0).sum(1)
    rows = zip(
        history.tolist(), lengths.tolist(), sums.tolist(), (sums / penalty(lengths.double())).tolist(), strict=True
    )
    found = [
        Hypothesis(tokens[: length - 1], total, score, length == limit)
        for (tokens, length, total, score), limit in zip(rows, limits.repeat_interleave(count).tolist(), strict=True)
    ]
    return [found[start : start + count] for start in range(0, len(found), count)]
