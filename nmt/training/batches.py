"""Maps (corpus, seed, epoch) to batches by a pure function, so that data order needs no state to resume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nmt.corpus.encoded import EncodedCorpus, Ints, Rows, blocks
from nmt.corpus.plans import Plan, cut, grouped, total
from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.runtime.device import draws

_BUCKET_GROWTH = 1.1


@dataclass(frozen=True)
class Batch:
    """One padded batch. B sentences, S source and T target positions."""

    source: Tensor
    """(B, S) source ids, each sentence ended by EOS."""
    lengths: Tensor
    """(B,) source lengths, on the CPU."""
    target_input: Tensor
    """(B, T) BOS, then the target."""
    target_output: Tensor
    """(B, T) the target, then EOS; padding is PAD."""
    tokens: int
    """Number of target tokens, with EOS and without padding."""
    rows: Tensor
    """(tokens,) their places in the flat target, computed here so that nothing waits for a device."""

    @classmethod
    def of(cls, source: Tensor, lengths: Tensor, target_input: Tensor, target_output: Tensor) -> Batch:
        """Makes a batch and counts its tokens."""
        rows = target_output.flatten().ne(PAD).nonzero().squeeze(1)
        return cls(source, lengths, target_input, target_output, len(rows), rows)

    def to(self, device: torch.device) -> Batch:
        """Copies the batch to a device; the lengths stay on the CPU."""
        source, inputs, outputs, rows = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.source, self.target_input, self.target_output, self.rows)
        )
        return Batch(source, self.lengths, inputs, outputs, self.tokens, rows)

    def pinned(self) -> Batch:
        """Copies the batch to pinned memory, from which a GPU can copy asynchronously."""
        source, lengths, inputs, outputs, rows = (
            tensor.pin_memory()
            for tensor in (self.source, self.lengths, self.target_input, self.target_output, self.rows)
        )
        return Batch(source, lengths, inputs, outputs, self.tokens, rows)

    @property
    def target_lengths(self) -> Tensor:
        """(B,) target tokens of each sentence, with EOS."""
        return self.target_output.ne(PAD).sum(1)

    @staticmethod
    def nothing() -> Batch:
        """Returns a batch with zero loss and gradients, for a process without sentences."""
        one, ended = torch.full((1, 1), BOS), torch.full((1, 1), EOS)
        return Batch.of(ended, torch.ones(1, dtype=torch.int64), one, torch.full((1, 1), PAD))

    def halves(self) -> list[Batch]:
        """Splits the sentences of the batch into two batches."""
        middle = len(self.source) // 2
        return [self._part(slice(None, middle)), self._part(slice(middle, None))]

    def _part(self, rows: slice) -> Batch:
        lengths, outputs = self.lengths[rows], self.target_output[rows]
        width = int(outputs.ne(PAD).sum(1).max())
        inputs = self.target_input[rows, :width]
        return Batch.of(self.source[rows, : int(lengths.max())], lengths, inputs, outputs[:, :width])


@dataclass(frozen=True)
class Sizes:
    """Sentence lengths of some batches, with EOS."""

    lengths: Tensor
    """(B,) source lengths."""
    target_lengths: Tensor
    """(B,)"""

    @property
    def tokens(self) -> int:
        """Number of target tokens."""
        return int(self.target_lengths.sum())


@dataclass(frozen=True)
class Selection:
    """The pairs of a corpus within the length limit."""

    rows: Rows
    """Ascending."""
    too_long: int


def select(corpus: EncodedCorpus, max_length: int, first: int = 0) -> Selection:
    """Selects the rows, from `first` on, whose two sides have from one to `max_length` tokens."""
    chosen, too_long = np.zeros(len(corpus), bool), 0
    for part in blocks(len(corpus)):
        source, target = (np.diff(side.offsets[part.start : part.stop + 1]) for side in (corpus.source, corpus.target))
        fits = (source <= max_length) & (target <= max_length)
        counted = slice(max(first - part.start, 0), None)
        too_long += int(np.count_nonzero(~fits[counted]))
        chosen[part][counted] = (fits & (source > 0) & (target > 0))[counted]
    rows: Rows = np.empty(np.count_nonzero(chosen), np.int32 if len(corpus) < 2**31 else np.int64)
    done = 0
    for part in blocks(len(corpus)):
        own = np.flatnonzero(chosen[part])
        rows[done : done + len(own)] = own + part.start
        done += len(own)
    return Selection(rows, too_long)


def plan_epoch(corpus: EncodedCorpus, rows: Rows, tokens: int, seed: int, epoch: int) -> Plan:
    """Returns the batches of one epoch, as rows of the corpus.

    Sentences of similar target length share a bucket (bounds grow by a tenth). Inside a bucket they are sorted by source
    length, after a shuffle that breaks ties anew each epoch. At the end the batches are shuffled. A batch has at most `tokens`
    target tokens, with EOS, and at least one sentence.
    """
    generator = draws(seed, epoch)
    source, target = corpus.source.small_lengths(), corpus.target.small_lengths()
    longest = int(target.max(initial=0))
    buckets = np.floor(np.log(np.arange(1, longest + 2)) / np.log(_BUCKET_GROWTH)).astype(np.uint16)
    rows = generator.permutation(rows)
    rows = grouped(rows, lambda part: source[part])
    rows = grouped(rows, lambda part: buckets[target[part]])
    bounds = cut(rows, [(target, tokens)])
    return Plan(rows, bounds, generator.permutation(len(bounds) - 1))


def collate(corpus: EncodedCorpus, rows: Ints) -> Batch:
    """Makes the padded tensors of the given rows."""
    source_lengths, target_lengths = corpus.source.lengths_of(rows) + 1, corpus.target.lengths_of(rows) + 1
    width = int(target_lengths.max())
    return Batch.of(
        source=torch.from_numpy(corpus.source.padded(rows, int(source_lengths.max()), -1, EOS, PAD)),
        lengths=torch.from_numpy(source_lengths),
        target_input=torch.from_numpy(corpus.target.padded(rows, width, BOS, -1, PAD)),
        target_output=torch.from_numpy(corpus.target.padded(rows, width, -1, EOS, PAD)),
    )


def padding_share(corpus: EncodedCorpus, plan: Plan) -> float:
    """Returns the share of padding among the positions of these batches, both sides together."""
    used = allotted = 0
    for side in (corpus.source, corpus.target):
        lengths = side.small_lengths()
        used += total(plan.rows, lengths) + len(plan.rows)
        allotted += int(((plan.longest(lengths) + 1) * plan.sizes).sum())
    return 1 - used / max(allotted, 1)


def largest(corpus: EncodedCorpus, plan: Plan) -> Ints:
    """Returns the first batch with the most positions, padding included."""
    widths = sum(plan.longest(side.small_lengths()) for side in (corpus.source, corpus.target))
    return plan[int(np.argmax(plan.sizes * widths))]
