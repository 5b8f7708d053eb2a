"""Batched beam search over the protocol; greedy search is a beam of one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.config.search import SearchConfig, extensions_of
from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.decoding.candidates import extend
from nmt.decoding.rules import Extension, MinimumLength, NoRepeatedNgram, Prefix, RepetitionPenalty, Rule
from nmt.models.protocol import Seq2Seq
from nmt.runtime.device import products_for

# B sentences, K beam, R = B * K rows, V vocabulary, T positions so far

Penalty = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Hypothesis:
    """One translation of one sentence."""

    tokens: list[int]
    """Token ids, without BOS and EOS."""
    log_probability: float
    """Natural logarithm of the probability, end of sentence counted."""
    score: float
    """Log-probability divided by the length penalty; hypotheses are ranked by it."""
    cut: bool
    """Whether the end was forced at the length limit."""


class Engine(Protocol):
    """A search that can replace the plain loop."""

    def search(self, ids: list[list[int]], config: SearchConfig, best: int) -> list[list[Hypothesis]]:
        """Returns the `best` hypotheses of each sentence of source tokens."""
        ...


def length_penalty(config: SearchConfig) -> Penalty:
    """Returns the function from a length in tokens, end of sentence counted, to the divisor of log-probabilities."""
    match config.length_penalty:
        case "none":
            return torch.ones_like
        case "average":
            return lambda length: length**config.alpha
        case "gnmt":
            return lambda length: ((5 + length) / 6) ** config.alpha


def length_limits(lengths: Tensor, config: SearchConfig, rules: Sequence[Rule] = ()) -> Tensor:
    """Returns the length limit of each translation in tokens, end of sentence counted, from source lengths (B,).

    A forced beginning has room besides.
    """
    limits = (lengths * config.max_length_ratio).long() + config.max_length_constant + 1
    for rule in rules:
        if isinstance(rule, Prefix):
            limits += limits.new_tensor([len(prefix) for prefix in rule.prefixes])
    return limits


@torch.inference_mode()
def beam_search(
    model: Seq2Seq[Any, Any],
    source: Tensor,
    lengths: Tensor,
    config: SearchConfig,
    best: int = 1,
    rules: Sequence[Rule] = (),
) -> list[list[Hypothesis]]:
    """Returns the `best` highest-scoring hypotheses of each sentence that the beam finds, best first.

    With the stopping rule `exact` a sentence is done when no live hypothesis can end above its `best` finished ones.
    Log-probabilities only fall, so a hypothesis of log-probability l can reach at most l / penalty(limit). With `count` a
    sentence is done when a whole beam of hypotheses has ended. At the length limit a hypothesis is forced to end, and the
    log-probability of the end of sentence counts.

    Args:
        model: any model that follows `Seq2Seq`.
        source: (B, S) token ids, padded.
        lengths: (B,) source lengths, on the CPU.
        config: beam, length penalty and limits.
        best: hypotheses returned per sentence, at most the beam.
        rules: applied in order to the log-probabilities of each step.
    """
    device, beam = source.device, config.beam
    limits = length_limits(lengths.to(device), config, rules)  # (B,)
    shortest, longest = int(limits.min()), int(limits.max())
    divisors = length_penalty(config)(torch.arange(longest + 1, dtype=torch.float64, device=device))  # by length
    candidates = extensions_of(beam)
    state = model.start(model.encode(source, lengths), 1)  # one empty hypothesis each; the first step makes K of it
    finished = Finished.empty(len(source), beam, longest, device)
    sentences = torch.arange(len(source), device=device)  # sentences in the batch
    tokens = torch.full((len(source),), BOS, device=device)  # (R,)
    history = tokens.new_zeros((len(tokens), 0))  # (R, T)
    scores = torch.zeros((len(source), 1), dtype=torch.float64, device=device)  # (B, K) log-probabilities
    for length in range(1, longest + 1):
        # 1. extend each hypothesis by every token
        with products_for(tokens.numel()):
            logits, state = model.step(state, tokens.flatten())
        at_limit = limits[sentences] == length if length >= shortest else None  # (B,)
        # 2. keep the best 2K of each sentence
        extension = Extension(sentences, history, scores.shape[1], limits)
        values, origins, tokens = extend(scores, logits, candidates, rules, extension, at_limit)  # each (B, 2K)
        rows = origins + torch.arange(len(sentences), device=device)[:, None] * scores.shape[1]
        # 3. what ends within the first K is finished
        ends = (tokens == EOS) & (values > -torch.inf)
        finished.add(sentences, values, divisors[length], ends, history, rows, at_limit)
        # 4. the first K that do not end live on
        scores, keep = values.masked_fill(ends, -torch.inf).topk(beam, 1)
        rows, tokens = rows.gather(1, keep), tokens.gather(1, keep)  # (B, K)
        # 5. sentences that are done are closed; they leave the batch once there are enough of them to pay for moving the rest
        closed = finished.closes(config.stopping, best, sentences, scores[:, 0] / divisors[limits[sentences]])
        scores = scores.masked_fill(closed[:, None], -torch.inf)
        open_ = (~closed).nonzero().squeeze(1)
        if len(open_) == 0:
            break
        if len(open_) <= WORTH_SHRINKING * len(sentences):
            sentences, scores, rows, tokens = (part[open_] for part in (sentences, scores, rows, tokens))
        state = model.reorder(state, rows.flatten(), beam)
        history = torch.cat([history[rows.flatten()], tokens.view(-1, 1)], 1)
    return finished.hypotheses(best)


WORTH_SHRINKING = 0.88


def configured_rules(config: SearchConfig) -> list[Rule]:
    """Returns the rules that the search settings ask for."""
    rules: list[Rule] = []
    if config.min_length:
        rules.append(MinimumLength(config.min_length))
    if config.no_repeat_ngram:
        rules.append(NoRepeatedNgram(config.no_repeat_ngram))
    if config.repetition_penalty != 1:
        rules.append(RepetitionPenalty(config.repetition_penalty))
    return rules


@torch.inference_mode()
def score_targets(model: Any, source: Tensor, lengths: Tensor, target_input: Tensor, target_output: Tensor) -> Tensor:
    """Returns the log-probability (B, T) of each target token, end of sentence counted, zero at padding (forced decoding)."""
    log_probabilities = model.log_probabilities(source, lengths, target_input)
    chosen = log_probabilities.gather(2, target_output[:, :, None]).squeeze(2)
    return chosen.masked_fill(target_output == PAD, 0.0)


@dataclass
class Finished:
    """The K best finished hypotheses of each sentence, on the device."""

    scores: Tensor
    """(B, K) normalised scores; -inf in empty places."""
    log_probabilities: Tensor
    tokens: Tensor
    """(B, K, longest)"""
    lengths: Tensor
    cut: Tensor

    @classmethod
    def empty(cls, sentences: int, beam: int, longest: int, device: torch.device) -> Finished:
        """Makes an empty store."""
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
        rows: Tensor,
        at_limit: Tensor | None,
    ) -> None:
        """Merges the hypotheses that end, among the first K of the extensions (B, 2K) of a history (R, T), into the store."""
        beam = self.scores.shape[1]
        ending, log_probabilities = ending[:, :beam], log_probabilities[:, :beam]
        some = ending.any(1).nonzero().squeeze(1)
        if len(some) == 0:
            return
        sentences, rows, ending = sentences[some], rows[some, :beam], ending[some]
        new = (log_probabilities[some] / divisor).masked_fill(~ending, -torch.inf)
        top, order = torch.cat([self.scores[sentences], new], 1).topk(beam, 1)  # of (B, 2K)
        self.scores[sentences] = top
        merged = (
            (self.log_probabilities, log_probabilities[some]),
            (self.lengths, torch.full_like(order, history.shape[1] + 1)),
            (self.cut, at_limit[some, None].expand_as(new) if at_limit is not None else torch.zeros_like(ending)),
        )
        for store, addition in merged:
            store[sentences] = torch.cat([store[sentences], addition], 1).gather(1, order)
        said = F.pad(history[rows], (0, self.tokens.shape[2] - history.shape[1]), value=PAD)  # (B, K, longest)
        tokens = torch.cat([self.tokens[sentences], said], 1)
        self.tokens[sentences] = tokens.gather(1, order[:, :, None].expand(-1, -1, tokens.shape[2]))

    def closes(self, stopping: str, best: int, sentences: Tensor, reach: Tensor) -> Tensor:
        """Whether (B,) the sentences are done, by the stopping rule and the best score that is still possible, `reach` (B,)."""
        if stopping == "count":
            return self.scores[sentences, -1] > -torch.inf
        return self.scores[sentences, best - 1] >= reach

    def hypotheses(self, best: int) -> list[list[Hypothesis]]:
        """Returns the `best` hypotheses of each sentence, best first."""
        scores, log_probabilities, tokens, lengths, cut = (
            part[:, :best].tolist()
            for part in (self.scores, self.log_probabilities, self.tokens, self.lengths, self.cut)
        )
        return [
            [
                Hypothesis(tokens[b][k][: lengths[b][k] - 1], log_probabilities[b][k], scores[b][k], cut[b][k])
                for k in range(len(scores[b]))
                if scores[b][k] > -math.inf
            ]
            for b in range(len(scores))
        ]
