"""Beam search on a CPU with compiled kernels, equal to `nmt.decoding.beam_search.beam_search`.

One kernel call does its steps 3 to 5. For a Transformer without rules one call may do several whole steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nmt.config.search import SearchConfig, extensions_of
from nmt.corpus.tokenizer import BOS, EOS
from nmt.decoding.beam_search import WORTH_SHRINKING, Finished, Hypothesis, beam_search, length_limits, length_penalty
from nmt.decoding.candidates import extend
from nmt.decoding.rules import Extension, Rule
from nmt.fast.cpu.transformer_search import TransformerByKernels
from nmt.fast.kernels import Kernels, kernels, layout
from nmt.fast.kernels.beam import Going
from nmt.models.protocol import Seq2Seq
from nmt.runtime.device import products_for

# B sentences, K beam, R = B * K rows, T positions so far


def fastest_search(device: torch.device) -> Callable[..., list[list[Hypothesis]]]:
    """Returns `nmt.decoding.beam_search.beam_search`, or its equal by CPU kernels where this machine has them."""
    fast = kernels() if device.type == "cpu" else None
    return beam_search if fast is None else partial(search_by_kernels, fast)


@torch.inference_mode()
def search_by_kernels(
    fast: Kernels,
    model: Seq2Seq[Any, Any],
    source: Tensor,
    lengths: Tensor,
    config: SearchConfig,
    best: int = 1,
    rules: Sequence[Rule] = (),
) -> list[list[Hypothesis]]:
    """See `nmt.decoding.beam_search.beam_search`."""
    limits = length_limits(lengths, config, rules)  # (B,)
    shortest, longest = int(limits.min()), int(limits.max())
    divisors = length_penalty(config)(torch.arange(longest + 1, dtype=torch.float64))  # by length
    finished = Finished.empty(len(source), config.beam, longest, source.device)
    table = _table(finished, config, best, limits, divisors)
    memory = model.encode(source, lengths)
    if isinstance(model, TransformerByKernels) and model.whole and not rules:
        for _ in model.search(memory, table):
            pass
        return finished.hypotheses(best)
    candidates = extensions_of(config.beam)
    state = model.start(memory, 1)
    going = _beginning(len(source))
    for length in range(1, longest + 1):
        with products_for(len(going.tokens)):
            logits, state = model.step(state, going.tokens)
        at_limit = limits[going.sentences] == length if length >= shortest else None  # (B,)
        extension = Extension(going.sentences, going.history, going.scores.shape[1], limits)
        extended = extend(going.scores, logits, candidates, rules, extension, at_limit)
        going = fast.settle(table, going, extended, WORTH_SHRINKING)
        if len(going) == 0:
            break
        state = model.reorder(state, going.rows, config.beam)
    return finished.hypotheses(best)


def _beginning(sentences: int) -> Going:
    """Returns one empty hypothesis per sentence."""
    numbers = torch.arange(sentences)
    scores = torch.zeros((sentences, 1), dtype=torch.float64)
    return Going(scores, numbers, torch.full_like(numbers, BOS), numbers, numbers.new_zeros((sentences, 0)))


def _table(
    finished: Finished, config: SearchConfig, best: int, limits: Tensor, divisors: Tensor
) -> layout.FinishedTable:
    """Describes the finished hypotheses to the kernels by address; valid as long as the tensors live."""
    parts = (finished.scores, finished.log_probabilities, finished.tokens, finished.lengths, finished.cut)
    places = [part.data_ptr() for part in (limits, divisors, *parts)]
    return layout.FinishedTable(*finished.tokens.shape[1:], best, config.stopping == "count", EOS, *places)
