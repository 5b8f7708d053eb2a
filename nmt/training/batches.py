"""Maps (corpus, seed, epoch) to batches by a pure function, so that data order needs no state to resume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nmt.corpus.encoded import EncodedCorpus, Ints
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

    rows: Ints
    too_long: int


def select(corpus: EncodedCorpus, max_length: int, first: int = 0) -> Selection:
    """Selects the rows, from `first` on, whose two sides have from one to `max_length` tokens."""
    source, target = corpus.source.lengths, corpus.target.lengths
    fits = (source <= max_length) & (target <= max_length)
    rows = np.flatnonzero(fits & (source > 0) & (target > 0))
    return Selection(rows[rows >= first], int(np.count_nonzero(~fits[first:])))


def plan_epoch(corpus: EncodedCorpus, rows: Ints, tokens: int, seed: int, epoch: int) -> list[Ints]:
    """Returns the batches of one epoch, as rows of the corpus.

    Sentences of similar target length share a bucket (bounds grow by a tenth). Inside a bucket they are sorted by source
    length, after a shuffle that breaks ties anew each epoch. At the end the batches are shuffled. A batch has at most `tokens`
    target tokens, with EOS, and at least one sentence.
    """
    generator = draws(seed, epoch)
    rows = generator.permutation(rows)
    source, target = corpus.source.lengths[rows], corpus.target.lengths[rows] + 1
    bucket = np.floor(np.log(target) / np.log(_BUCKET_GROWTH)).astype(np.int64)
    order = np.lexsort((source, bucket))
    filled = np.cumsum(target[order])
    batches: list[Ints] = []
    start = 0
    while start < len(order):
        used = filled[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(filled, used + tokens, side="right")))
        batches.append(rows[order[start:end]])
        start = end
    return [batches[index] for index in generator.permutation(len(batches))]


def collate(corpus: EncodedCorpus, rows: Ints) -> Batch:
    """Makes the padded tensors of the given rows."""
    source_lengths, target_lengths = corpus.source.lengths[rows] + 1, corpus.target.lengths[rows] + 1
    width = int(target_lengths.max())
    return Batch.of(
        source=torch.from_numpy(corpus.source.padded(rows, int(source_lengths.max()), -1, EOS, PAD)),
        lengths=torch.from_numpy(source_lengths),
        target_input=torch.from_numpy(corpus.target.padded(rows, width, BOS, -1, PAD)),
        target_output=torch.from_numpy(corpus.target.padded(rows, width, -1, EOS, PAD)),
    )


def padding_share(corpus: EncodedCorpus, batches: list[Ints]) -> float:
    """Returns the share of padding among the positions of these batches, both sides together."""
    used = allotted = 0
    for side in (corpus.source.lengths + 1, corpus.target.lengths + 1):
        used += sum(int(side[rows].sum()) for rows in batches)
        allotted += sum(int(side[rows].max()) * len(rows) for rows in batches)
    return 1 - used / max(allotted, 1)
