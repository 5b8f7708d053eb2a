"""Batched beam search over the protocol; greedy search is a beam of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nmt.config import SearchConfig
from nmt.models.seq2seq import Seq2Seq
from nmt.tokenizer import BOS, EOS, PAD

# B sentences, K beam, R = B * K rows, V vocabulary, T positions so far

Penalty = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Hypothesis:
    """One translation of one sentence."""

    tokens: list[int]
    """Token ids, without BOS and EOS."""
    log_probability: float
    """Natural logarithm, end of sentence counted."""
    score: float
    """Log-probability divided by the length penalty; what hypotheses are ranked by."""
    cut: bool
    """Whether the end was forced at the length limit."""


def length_penalty(config: SearchConfig) -> Penalty:
    """The divisor of a log-probability for a length in tokens, end of sentence counted."""
    match config.length_penalty:
        case "none":
            return torch.ones_like
        case "average":
            return lambda length: length**config.alpha
        case "gnmt":
            return lambda length: ((5 + length) / 6) ** config.alpha


def length_limits(lengths: Tensor, config: SearchConfig) -> Tensor:
    """Longest translation of each sentence in tokens, end of sentence counted, from source lengths (B,)."""
    return (lengths * config.max_length_ratio).long() + config.max_length_constant + 1


@torch.inference_mode()
def beam_search(
    model: Seq2Seq[Any, Any], source: Tensor, lengths: Tensor, config: SearchConfig, best: int = 1
) -> list[list[Hypothesis]]:
    """The `best` highest-scoring hypotheses of each sentence that the beam meets, best first.

    A sentence is done when no hypothesis still alive can end above its `best` finished ones: log-probabilities only
    fall, so one of log-probability l can reach at most l / penalty(limit). At its limit a hypothesis is ended by force, at
    the price of its end of sentence, so that every score is the model's own.

    Args:
        model: anything that follows the protocol.
        source: (B, S) token ids, padded.
        lengths: (B,) source lengths, on the CPU.
        config: beam, length penalty and limits.
        best: hypotheses returned per sentence, at most the beam.
    """
    device, beam = source.device, config.beam
    penalty = length_penalty(config)
    limits = length_limits(lengths.to(device), config)  # (B,)
    longest = int(limits.max())
    state = model.start(model.encode(source, lengths), beam)
    finished = _Finished.empty(len(source), beam, longest, device)
    sentences = torch.arange(len(source), device=device)  # those still searched
    tokens = torch.full((len(source) * beam,), BOS, device=device)  # (R,)
    history = torch.full((len(tokens), longest), PAD, device=device)  # (R, T)
    scores: Tensor | None = None  # (B, K) log-probabilities
    for length in range(1, longest + 1):
        # 1. extend each hypothesis by every token
        logits, state = model.step(state, tokens)
        log_probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        log_probabilities[:, PAD] = log_probabilities[:, BOS] = -torch.inf
        if scores is None:  # all rows of a sentence are the same empty hypothesis: keep one
            scores = log_probabilities.new_full((len(sentences), beam), -torch.inf)
            scores[:, 0] = 0
        at_limit = limits[sentences] == length  # (B,)
        force_end(log_probabilities, at_limit.repeat_interleave(beam))
        # 2. keep the best 2K of each sentence: at most K of them end, so K go on
        values, origins, tokens = _best_extensions(scores, log_probabilities, 2 * beam)  # each (B, 2K)
        rows = origins + torch.arange(len(sentences), device=device)[:, None] * beam
        # 3. what ends within the first K is finished; greedy search ends when the best token is the end
        ends = (tokens == EOS) & values.isfinite()
        ending = ends[:, :beam]
        divisor = penalty(torch.tensor(float(length), device=device, dtype=values.dtype))
        finished.add(sentences, values[:, :beam], divisor, ending, history[rows[:, :beam]], length, at_limit)
        # 4. the first K that do not end live on
        alive = values.masked_fill(ends, -torch.inf)
        scores, keep = alive.topk(beam, 1)
        rows, tokens = rows.gather(1, keep), tokens.gather(1, keep)  # (B, K)
        # 5. sentences that cannot improve leave the batch
        reach = scores[:, 0] / penalty(limits[sentences].to(scores.dtype))
        open_ = (finished.worst_of(best, sentences) < reach).nonzero().squeeze(1)
        if len(open_) == 0:
            break
        if len(open_) < len(sentences):
            sentences, scores, rows, tokens = (part[open_] for part in (sentences, scores, rows, tokens))
        rows, tokens = rows.flatten(), tokens.flatten()
        state = model.reorder(state, rows)
        history = history[rows]
        history[:, length - 1] = tokens
    return finished.hypotheses(best)


def force_end(log_probabilities: Tensor, rows: Tensor) -> None:
    """Leaves the end of sentence as the only extension of the marked rows (R,)."""
    end = log_probabilities[:, EOS].clone()
    log_probabilities.masked_fill_(rows[:, None], -torch.inf)
    log_probabilities[:, EOS] = end


@torch.inference_mode()
def score_targets(model: Any, source: Tensor, lengths: Tensor, target_input: Tensor, target_output: Tensor) -> Tensor:
    """Log-probability (B, T) of each target token, end of sentence counted, zero at padding: forced decoding."""
    hidden = model(source, lengths, target_input)
    logits = model.output(hidden)
    log_probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    chosen = log_probabilities.gather(2, target_output[:, :, None]).squeeze(2)
    return chosen.masked_fill(target_output == PAD, 0.0)


def _best_extensions(scores: Tensor, log_probabilities: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values, rows within the sentence and tokens of the `count` best extensions, each (B, count).

    First the best of each row, then of each sentence: the same as over all K * V, at a fraction of the cost.
    """
    beam, vocabulary = scores.shape[1], log_probabilities.shape[1]
    per_row = min(count, vocabulary)
    best, tokens = log_probabilities.topk(per_row, 1)  # (R, 2K)
    totals = (best.view(-1, beam, per_row) + scores[:, :, None]).flatten(1)  # (B, K * 2K)
    missing = count - totals.shape[1]
    if missing > 0:  # a vocabulary smaller than the beam
        totals = torch.nn.functional.pad(totals, (0, missing), value=-torch.inf)
        tokens = torch.nn.functional.pad(tokens.view(-1, beam * per_row), (0, missing), value=PAD)
    values, places = totals.topk(count, 1)
    chosen = tokens.reshape(len(totals), -1).gather(1, places)
    return values, (places // per_row).clamp_(max=beam - 1), chosen


@dataclass
class _Finished:
    """The K best finished hypotheses of each sentence, on the device."""

    scores: Tensor
    """(B, K) normalised; -inf where there is none yet."""
    log_probabilities: Tensor
    tokens: Tensor
    """(B, K, longest)"""
    lengths: Tensor
    cut: Tensor

    @classmethod
    def empty(cls, sentences: int, beam: int, longest: int, device: torch.device) -> _Finished:
        scores = torch.full((sentences, beam), -torch.inf, dtype=torch.float64, device=device)
        tokens = torch.full((sentences, beam, longest), PAD, device=device)
        lengths = torch.zeros((sentences, beam), dtype=torch.long, device=device)
        return cls(scores, scores.clone(), tokens, lengths, lengths.bool())

    def add(
        self,
        sentences: Tensor,
        log_probabilities: Tensor,
        divisor: Tensor,
        ending: Tensor,
        history: Tensor,
        length: int,
        at_limit: Tensor,
    ) -> None:
        """Merges hypotheses (B, K) of `length` tokens that end now into those of the given sentences."""
        if not bool(ending.any()):
            return
        new = (log_probabilities / divisor).masked_fill(~ending, -torch.inf)
        scores = torch.cat([self.scores[sentences], new.to(self.scores.dtype)], 1)  # (B, 2K)
        top, order = scores.topk(self.scores.shape[1], 1)
        self.scores[sentences] = top
        history = history.view(*new.shape, -1)
        merged = (
            (self.log_probabilities, log_probabilities.to(self.scores.dtype)),
            (self.lengths, torch.full_like(order, length)),
            (self.cut, at_limit[:, None].expand_as(new)),
        )
        for store, addition in merged:
            store[sentences] = torch.cat([store[sentences], addition], 1).gather(1, order)
        tokens = torch.cat([self.tokens[sentences], history], 1)
        self.tokens[sentences] = tokens.gather(1, order[:, :, None].expand(-1, -1, tokens.shape[2]))

    def worst_of(self, best: int, sentences: Tensor) -> Tensor:
        """Score (B,) of the `best`-th finished hypothesis of the given sentences."""
        return self.scores[sentences, best - 1]

    def hypotheses(self, best: int) -> list[list[Hypothesis]]:
        scores, log_probabilities = self.scores.tolist(), self.log_probabilities.tolist()
        tokens, lengths, cut = self.tokens.tolist(), self.lengths.tolist(), self.cut.tolist()
        return [
            [
                Hypothesis(tokens[b][k][: lengths[b][k] - 1], log_probabilities[b][k], scores[b][k], cut[b][k])
                for k in range(best)
                if lengths[b][k] > 0
            ]
            for b in range(len(scores))
        ]
