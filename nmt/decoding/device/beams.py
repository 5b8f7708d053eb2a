"""The hypotheses of a search that stays on its device: a fixed number of slots, filled from a queue of sentences.

Every step does the same operations on the same memory, whatever ended in the step before. So a CUDA graph can repeat it,
and the host never waits for the device. The results are those of `nmt.decoding.beam_search.beam_search`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.config.search import SearchConfig, extensions_of
from nmt.corpus.tokenizer import BOS, EOS
from nmt.decoding.beam_search import Hypothesis, length_limits, length_penalty
from nmt.decoding.candidates import apply_rules, best_extensions
from nmt.decoding.rules import Extension
from nmt.fast.triton import usable
from nmt.models.protocol import log_softmax

# N slots, K beam, R = N * K rows, P sentences of the queue, T longest translation, V vocabulary

_WIDEST = 32  # largest beam of the kernels


@dataclass(frozen=True)
class Room:
    """The sizes of a search; all allocations follow from them."""

    slots: int
    """Sentences searched at the same time."""
    beam: int
    sentences: int
    """Number of sentences in the queue."""
    tokens: int
    """Source positions of all sentences together."""
    source: int
    """Length of the longest source in positions."""
    target: int
    """Length of the longest translation in tokens, end of sentence counted."""

    @property
    def rows(self) -> int:
        """Number of hypotheses extended at the same time."""
        return self.slots * self.beam

    def holds(self, other: Room) -> bool:
        """Whether memory allocated for this room also serves `other`, without far too many slots."""
        enough = ("slots", "sentences", "tokens", "source", "target")
        alike = self.beam == other.beam and self.slots <= 4 * other.slots
        return alike and all(getattr(self, name) >= getattr(other, name) for name in enough)


class Queue:
    """The sentences, longest first: their sources, their length limits, and the best K finished hypotheses.

    Each array has one place more than there are sentences; empty slots use it.
    """

    def __init__(self, room: Room, device: torch.device) -> None:
        places, beam = room.sentences + 1, room.beam
        self.nobody = room.sentences
        self.count = torch.zeros((), dtype=torch.long, device=device)
        self.following = torch.zeros((), dtype=torch.long, device=device)
        """The next sentence that has no slot yet."""
        self.offsets, self.lengths, self.limits = (
            torch.ones(places, dtype=torch.long, device=device) for _ in range(3)
        )
        self.scores = torch.full((places, beam), -torch.inf, dtype=torch.float64, device=device)
        """Normalised scores; -inf in empty places."""
        self.log_probabilities = self.scores.clone()
        self.ended = torch.zeros((places, beam), dtype=torch.long, device=device)
        """Length of each hypothesis in tokens, end of sentence counted."""
        self.cut = self.ended.bool()
        self.tokens = torch.zeros((places, beam, room.target), dtype=torch.long, device=device)
        """The tokens fed: BOS, then the translation."""

    def begin(self, lengths: Tensor, config: SearchConfig, positions: Tensor | None = None) -> None:
        """Takes new sentences, whose sources lie end to end.

        Args:
            lengths: (P,) lengths of the sources in tokens, on the CPU.
            config: settings of the search.
            positions: (P,) positions of the sources, if they differ from their lengths.
        """
        count, positions = len(lengths), lengths if positions is None else positions
        self.count.fill_(count)
        self.offsets[:count] = positions.cumsum(0) - positions
        self.lengths[:count] = positions
        self.limits[:count] = length_limits(lengths, config)
        self.offsets[self.nobody] = 0
        self.lengths[self.nobody] = self.limits[self.nobody] = 1
        self.scores.fill_(-torch.inf)
        self.ended.zero_()

    def add(self, owners: Tensor, new: tuple[Tensor, ...], tokens: Tensor) -> None:
        """Merges hypotheses that end, each of `new` (N, K) and tokens (N, K, T), with the best ones of the owners (N,)."""
        stores = (self.scores, self.log_probabilities, self.ended, self.cut)
        order = torch.cat([self.scores[owners], new[0]], 1).topk(new[0].shape[1], 1).indices  # of (N, 2K)
        for store, addition in zip(stores, new, strict=True):
            store.index_copy_(0, owners, torch.cat([store[owners], addition], 1).gather(1, order))
        both = torch.cat([self.tokens[owners], tokens], 1)  # (N, 2K, T)
        self.tokens.index_copy_(0, owners, both.gather(1, order[:, :, None].expand(-1, -1, both.shape[2])))

    def hypotheses(self, count: int, best: int) -> list[list[Hypothesis]]:
        """Returns the `best` hypotheses of each of the first `count` sentences, best first, by one transfer from the device."""
        scores, order = self.scores[:count].topk(best, 1)  # (P, best)
        log_probabilities, ended, cut = (
            part[:count].gather(1, order) for part in (self.log_probabilities, self.ended, self.cut)
        )
        tokens = self.tokens[:count].gather(1, order[:, :, None].expand(-1, -1, self.tokens.shape[2]))
        numbers = torch.stack([scores, log_probabilities], 2).view(torch.long)  # (P, best, 2)
        rest = torch.stack([ended, cut.long()], 2)
        whole = torch.cat([numbers, rest, tokens], 2).cpu()
        return _unpacked(whole)


def _unpacked(whole: Tensor) -> list[list[Hypothesis]]:
    """Unpacks hypotheses from integers (P, best, 4 + T): score, log-probability, length, cut, tokens."""
    doubles = whole[:, :, :2].contiguous().view(torch.float64).flatten(0, 1)
    scores, log_probabilities = doubles.t().tolist()
    ended = whole[:, :, 2].flatten()
    cut = whole[:, :, 3].flatten().bool().tolist()
    places = torch.arange(whole.shape[2] - 4)
    said = (places > 0) & (places < ended[:, None])  # without BOS
    tokens = whole[:, :, 4:].flatten(0, 1)[said].tolist()
    lengths = (ended - 1).clamp(min=0)
    ends, counts = lengths.cumsum(0).tolist(), lengths.tolist()
    found = [
        Hypothesis(tokens[end - count : end], log_probability, score, was_cut)
        for end, count, log_probability, score, was_cut in zip(
            ends, counts, log_probabilities, scores, cut, strict=True
        )
    ]
    best = whole.shape[1]
    groups = (found[start : start + best] for start in range(0, len(found), best))
    return [[item for item in group if item.score > -torch.inf] for group in groups]


class Beams:
    """N slots of K hypotheses. Cached values stay in place; the ancestry says which row computed each."""

    def __init__(self, room: Room, device: torch.device, config: SearchConfig, best: int) -> None:
        self.room, self.config, self.best = room, config, best
        self.queue = Queue(room, device)
        rows, slots = room.rows, torch.zeros(room.slots, dtype=torch.long, device=device)
        self.owners = slots.clone()
        """(N,) the sentence of each slot."""
        self.positions = slots.clone()
        """(N,) the target position of the next step."""
        self.tokens = torch.zeros(rows, dtype=torch.long, device=device)
        """(R,) the input tokens of the next step."""
        self.fed = torch.zeros((rows, room.target), dtype=torch.long, device=device)
        """(R, T) the token fed to each row at each position."""
        own = torch.arange(room.beam, device=device).repeat(room.slots)  # (R,)
        self.own = own[:, None].expand(-1, room.target)
        self.ancestry = self.own.clone()
        """(R, T) which of the slot's K rows computed each past position; the row itself from the next position on."""
        self.origins = torch.zeros(rows, dtype=torch.long, device=device)
        """(R,) the row that each row continues; R plus the sentence number for a sentence that begins."""
        self.scores = torch.zeros((room.slots, room.beam), dtype=torch.float64, device=device)
        self.places = torch.arange(room.target, device=device)
        self.first_rows = torch.arange(room.slots, device=device)[:, None] * room.beam
        self.divisors = length_penalty(config)(
            torch.arange(room.target + 2, dtype=torch.float64, device=device)
        )  # by length
        self.fresh_scores = torch.full((room.beam,), -torch.inf, dtype=torch.float64, device=device)
        self.fresh_scores[0] = 0.0  # one empty hypothesis; the first step makes K of it
        self.remaining = torch.zeros((), dtype=torch.long, device=device)
        """Number of sentences that are not done."""

    def begin(self, lengths: Tensor, positions: Tensor | None = None) -> None:
        """Puts the first sentences into the slots; see `Queue.begin`."""
        self.queue.begin(lengths, self.config, positions)
        self.queue.following.zero_()
        zeros = torch.zeros_like(self.positions)
        nothing = torch.zeros_like(self.first_rows.expand(-1, self.room.beam))
        self.ancestry.copy_(self.own)
        self.owners.fill_(self.queue.nobody)
        self.remaining.fill_(len(lengths))
        self._go_on(torch.ones_like(zeros, dtype=torch.bool), self.scores.clone(), nothing, nothing)

    def advance(self, logits: Tensor) -> None:
        """Extends each hypothesis by the logits (R, V) of a step, stores finished ones, and refills free slots."""
        if usable(logits) and logits.dtype != torch.float64 and self.room.beam <= _WIDEST:
            self._advance_by_kernels(logits)
            return
        beam, queue = self.room.beam, self.queue
        length = self.positions + 1  # (N,)
        limits = queue.limits[self.owners]
        at_limit = length >= limits
        values, origins, tokens = self._candidates(logits, at_limit, length)  # each (N, 2K)
        ends = (tokens == EOS) & (values > -torch.inf)
        divisor = self.divisors[length]
        self._finish(values[:, :beam], ends[:, :beam], origins[:, :beam], at_limit, divisor)
        scores, keep = values.masked_fill(ends, -torch.inf).topk(beam, 1)
        closed = at_limit | self._closes(scores[:, 0] / self.divisors[limits])
        self._go_on(closed, scores, origins.gather(1, keep), tokens.gather(1, keep))

    def _advance_by_kernels(self, logits: Tensor) -> None:
        """Runs `advance` in two kernels."""
        from nmt.fast.triton.beams import advance, best_of_rows

        queue, config = self.queue, self.config
        count = extensions_of(self.room.beam)
        found = best_of_rows(logits, self.positions, self.owners, queue.limits, config.min_length, count)
        fixed = [queue.limits, queue.count, self.divisors]
        advance(list(found), self.state, fixed, self.best, config.stopping == "count")

    @property
    def state(self) -> list[Tensor]:
        """All tensors that a step changes, in the order of the kernels."""
        queue = self.queue
        kept = [queue.scores, queue.log_probabilities, queue.ended, queue.cut, queue.tokens]
        rows = [self.owners, self.positions, self.tokens, self.fed, self.ancestry, self.origins, self.scores]
        return [*rows, queue.following, self.remaining, *kept]

    def _candidates(self, logits: Tensor, at_limit: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns values, rows of the slot and tokens of the best 2K extensions (N, 2K) of each slot, or 1 for a beam of 1."""
        beam = self.room.beam
        log_probabilities = log_softmax(logits)
        too_short = length <= self.config.min_length
        extension = Extension(self.owners, self.fed, beam)
        rules = [_NotYet(too_short.repeat_interleave(beam))] if self.config.min_length else []
        apply_rules(rules, log_probabilities, extension, at_limit)
        return best_extensions(self.scores, log_probabilities, extensions_of(beam))

    def _finish(self, values: Tensor, ends: Tensor, origins: Tensor, at_limit: Tensor, divisor: Tensor) -> None:
        """Stores the hypotheses that end among the K best extensions, each (N, K)."""
        scores = (values / divisor[:, None]).masked_fill(~ends, -torch.inf)
        length = (self.positions + 1)[:, None].expand_as(origins)
        said = self._by_slot(self.fed).gather(1, self._past(origins))  # (N, K, T)
        self.queue.add(self.owners, (scores, values, length, at_limit[:, None].expand_as(ends)), said)

    def _closes(self, reach: Tensor) -> Tensor:
        """Whether (N,) the sentences are done; see `nmt.decoding.beam_search.Finished.closes`."""
        scores = self.queue.scores[self.owners]
        return scores[:, -1] > -torch.inf if self.config.stopping == "count" else scores[:, self.best - 1] >= reach

    def _go_on(self, closed: Tensor, scores: Tensor, origins: Tensor, tokens: Tensor) -> None:
        """Sets the hypotheses of the next step: live ones (N, K), or a new sentence in slots that are closed (N,)."""
        room, queue = self.room, self.queue
        lives = (self.places <= self.positions[:, None, None]) & ~closed[:, None, None]  # (N, 1, T)
        ancestry = torch.where(lives, self._past(origins), self._by_slot(self.own))
        self.ancestry.copy_(ancestry.flatten(0, 1))
        self.positions.copy_((self.positions + 1).masked_fill(closed, 0))
        self.remaining.sub_((closed & (self.owners != queue.nobody)).sum())
        number = queue.following + closed.cumsum(0) - 1  # (N,)
        queue.following.add_(closed.sum())
        number = number.masked_fill(number >= queue.count, queue.nobody)
        self.owners.copy_(torch.where(closed, number, self.owners))
        begun = closed[:, None]
        self.scores.copy_(torch.where(begun, self.fresh_scores, scores))
        self.tokens.copy_(tokens.masked_fill(begun, BOS).flatten())
        self.origins.copy_(torch.where(begun, room.rows + self.owners[:, None], origins + self.first_rows).flatten())
        at = self.positions.repeat_interleave(room.beam, output_size=room.rows)
        self.fed.scatter_(1, at[:, None], self.tokens[:, None])

    def _past(self, origins: Tensor) -> Tensor:
        """Returns the ancestry (N, K, T) of the rows (N, K) of each slot."""
        return self._by_slot(self.ancestry).gather(1, origins[:, :, None].expand(-1, -1, self.room.target))

    def _by_slot(self, rows: Tensor) -> Tensor:
        return rows.unflatten(0, (self.room.slots, self.room.beam))


@dataclass(frozen=True)
class _NotYet:
    """Keeps some rows (R,) from ending."""

    rows: Tensor

    def __call__(self, log_probabilities: Tensor, extension: Extension) -> None:  # noqa: ARG002  # a rule
        """See `nmt.decoding.rules.Rule`."""
        log_probabilities[:, EOS].masked_fill_(self.rows, -torch.inf)
