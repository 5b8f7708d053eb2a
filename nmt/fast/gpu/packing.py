"""Batches without padding: sentences end to end, in random order, up to a fixed number of rows on each side.

Every batch of a training has the same shape, so that one CUDA graph serves for all. The rest of a batch is empty rows, which
see nothing and are not seen. The corpus is on the device, where many batches are laid out at once. The host sends only the
numbers of the sentences and where they begin. Of a corpus that is too large for that it sends the sentences too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nmt.corpus.encoded import EncodedCorpus, Ints, Lengths, Ragged, Rows, blocks
from nmt.corpus.plans import Plan, cut, total
from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.runtime.device import draws

SOURCE, TARGET = 6, 7
"""How many numbers a row of each side has; see `Packed`."""
_SHELF = 1 << 20  # target rows laid out at once
_ON_DEVICE = 1 << 28  # tokens of a corpus that lies on the device as a whole; of a larger one, what is laid out at once
_ROUNDED = 16  # capacities are multiples of this many rows
_SPREAD = 2.5  # standard deviations by which a batch's source may be longer than the average

# S source rows, N target rows


@dataclass(frozen=True)
class Capacity:
    """Number of rows of every batch."""

    source: int
    target: int

    @property
    def numbers(self) -> int:
        """Number of integers of a batch, its token count included."""
        return SOURCE * self.source + TARGET * self.target + 1


@dataclass(frozen=True)
class Windows:
    """Which keys the rows of an attention see: row i sees `counts[i]` keys from `starts[i]` on.

    Key j is seen only by the `query_counts[j]` rows from `query_starts[j]` on. All are int32; an empty row has zeros.
    """

    starts: Tensor
    counts: Tensor
    query_starts: Tensor
    query_counts: Tensor


@dataclass(frozen=True)
class Packed:
    """One batch of packed sentences, as views of its int32 numbers."""

    numbers: Tensor
    """(`Capacity.numbers`,)"""
    capacity: Capacity
    tokens: int
    """Number of target tokens, with EOS and without empty rows."""

    @property
    def source(self) -> Tensor:
        """(SOURCE, S): token, position; first row and row count of the sentence, and of its target."""
        return self.numbers[: SOURCE * self.capacity.source].view(SOURCE, -1)

    @property
    def target(self) -> Tensor:
        """(TARGET, N): previous token, token, position; first row and row count of the sentence, and of its source."""
        return self.numbers[SOURCE * self.capacity.source : -1].view(TARGET, -1)

    @property
    def wanted(self) -> Tensor:
        """(N,) target tokens, PAD in empty rows."""
        return self.target[1]

    @property
    def count(self) -> Tensor:
        """(1,) number of target tokens."""
        return self.numbers[-1:]

    @property
    def encoder(self) -> Windows:
        """Windows in which source rows see their sentence."""
        starts, counts = self.source[2], self.source[3]
        return Windows(starts, counts, starts, counts)

    @property
    def decoder(self) -> Windows:
        """Windows in which target rows see their sentence; causality is left to attention."""
        starts, counts = self.target[3], self.target[4]
        return Windows(starts, counts, starts, counts)

    @property
    def cross(self) -> Windows:
        """Windows in which target rows see the source of their sentence."""
        return Windows(self.target[5], self.target[6], self.source[4], self.source[5])

    def on(self, numbers: Tensor) -> Packed:
        """Returns the same batch with its numbers in other memory."""
        return Packed(numbers, self.capacity, self.tokens)


def capacity_for(source: Lengths, target: Lengths, tokens: int) -> Capacity:
    """Chooses rows for batches of at most `tokens` target tokens, so that an epoch also fills its last batch.

    Args:
        source: tokens of each source sentence, with EOS.
        target: tokens of each target sentence, with EOS.
        tokens: most target tokens of a batch; a longer sentence is a batch by itself.
    """
    moments, longest, count = _Moments.of(source, target), int(target.max()), len(target)
    total, mean = moments.target, moments.target / count
    left_over = moments.targets / count / (2 * mean)  # mean unused rows at the end of a batch
    batches = max(1, math.ceil(total / max(tokens - left_over, 1)))
    margin = left_over * (1 + 1.5 / math.sqrt(batches)) if batches > 1 else 0.0
    rows = max(longest, min(tokens, _rounded(total / batches + margin)))
    ratio = moments.source / total
    spread = math.sqrt(moments.residual / count) * math.sqrt(rows / mean)
    return Capacity(max(int(source.max()), _rounded(ratio * rows + _SPREAD * spread)), rows)


@dataclass(frozen=True)
class _Moments:
    """Exact sums over sentences: of the lengths s of sources and t of targets, of s^2, t^2 and s t."""

    source: int
    target: int
    sources: int
    targets: int
    product: int

    @classmethod
    def of(cls, source: Lengths, target: Lengths) -> _Moments:
        sums = [0] * 5  # of Python's integers, which have no largest
        for part in blocks(len(target)):
            s, t = source[part].astype(np.int64), target[part].astype(np.int64)
            found = (s.sum(), t.sum(), s @ s, t @ t, s @ t)
            sums = [known + int(more) for known, more in zip(sums, found, strict=True)]
        return cls(*sums)

    @property
    def residual(self) -> float:
        """The sum of (s - r t)^2, where r is the ratio of the sums of s and t."""
        source, target = self.source, self.target
        scaled = target**2 * self.sources - 2 * source * target * self.product + source**2 * self.targets
        return scaled / target**2


def plan_packed(corpus: EncodedCorpus, rows: Rows, capacity: Capacity, seed: int, epoch: int) -> Plan:
    """Returns the batches of one epoch, as rows of the corpus: a shuffle, cut where one side is full."""
    rows = draws(seed, epoch).permutation(rows)
    source, target = corpus.source.small_lengths(), corpus.target.small_lengths()
    return Plan(rows, cut(rows, [(source, capacity.source), (target, capacity.target)]))


def empty_share(corpus: EncodedCorpus, plan: Plan, capacity: Capacity) -> tuple[float, float]:
    """Returns the shares of empty rows in these batches: source, target."""
    source, target = (
        total(plan.rows, side.small_lengths()) + len(plan.rows) for side in (corpus.source, corpus.target)
    )
    return 1 - source / (capacity.source * len(plan)), 1 - target / (capacity.target * len(plan))


class Packing:
    """Packs the batches of a training."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self._shelf: Shelf | None = None

    @classmethod
    def of(cls, source: Lengths, target: Lengths, tokens: int) -> Packing:
        """See `capacity_for`."""
        return cls(capacity_for(source, target, tokens))

    @property
    def room(self) -> int:
        """Number of batches to lay out at once."""
        return max(1, _SHELF // self.capacity.target)

    def plan(self, corpus: EncodedCorpus, rows: Rows, seed: int, epoch: int) -> Plan:
        """See `plan_packed`."""
        return plan_packed(corpus, rows, self.capacity, seed, epoch)

    def padding(self, corpus: EncodedCorpus, plan: Plan) -> float:
        """Returns the share of empty rows in these batches, both sides together."""
        return sum(empty_share(corpus, plan, self.capacity)) / 2

    def empty(self, device: torch.device) -> list[Packed]:
        """Returns a batch without sentences."""
        return [Packed(torch.zeros(self.capacity.numbers, dtype=torch.int32, device=device), self.capacity, 0)]

    def lay_out(self, corpus: EncodedCorpus, batches: Sequence[Ints], device: torch.device) -> list[Packed]:
        """Lays batches of rows of the corpus out on a device."""
        if len(corpus.source.values) + len(corpus.target.values) > _ON_DEVICE:
            rows = np.concatenate(batches)
            places = np.split(np.arange(len(rows)), np.cumsum([len(part) for part in batches])[:-1])
            return Shelf(corpus.taken(rows), self.capacity, device).lay_out(places)
        if self._shelf is None or self._shelf.corpus is not corpus:
            self._shelf = Shelf(corpus, self.capacity, device)
        return self._shelf.lay_out(batches)


class Shelf:
    """A corpus on a device, where its batches are laid out."""

    def __init__(self, corpus: EncodedCorpus, capacity: Capacity, device: torch.device) -> None:
        self.corpus, self.capacity, self.device = corpus, capacity, device
        self.source, self.target = (_on(side, device) for side in (corpus.source, corpus.target))

    def lay_out(self, batches: Sequence[Ints]) -> list[Packed]:
        """Lays batches of rows of the corpus out; the host does not wait."""
        capacity, count = self.capacity, len(batches)
        rows = np.concatenate(batches)
        batch = np.repeat(np.arange(count), [len(part) for part in batches])
        firsts = np.cumsum([0, *(len(part) for part in batches[:-1])])
        source, target = (
            _Placed.of(ragged, rows, batch, firsts) for ragged in (self.corpus.source, self.corpus.target)
        )
        sent = np.stack([rows, batch, source.starts, source.lengths, target.starts, target.lengths])
        pinned = torch.from_numpy(sent)
        if self.device.type == "cuda":
            pinned = pinned.pin_memory()
        sentences = pinned.to(self.device, non_blocking=True)
        numbers = torch.zeros(count, capacity.numbers, dtype=torch.int32, device=self.device)
        split = SOURCE * capacity.source
        self._fill_source(numbers[:, :split].unflatten(1, (SOURCE, -1)), sentences, int(source.lengths.sum()))
        self._fill_target(numbers[:, split:-1].unflatten(1, (TARGET, -1)), sentences, int(target.lengths.sum()))
        tokens = np.add.reduceat(target.lengths, firsts)
        counts = torch.from_numpy(tokens.astype(np.int32))
        if self.device.type == "cuda":
            counts = counts.pin_memory()
        numbers[:, -1] = counts.to(self.device, non_blocking=True)
        return [Packed(numbers[index], capacity, int(tokens[index])) for index in range(count)]

    def _fill_source(self, numbers: Tensor, sentences: Tensor, total: int) -> None:
        """Fills numbers (count, SOURCE, S); see `Packed.source`."""
        values, offsets = self.source
        rows, batch, start, count, other_start, other_count = sentences
        of, place = _expanded(count, total)
        ended = place == (count - 1)[of]
        token = torch.where(ended, EOS, values[torch.where(ended, 0, offsets[rows][of] + place)])
        found = torch.stack([token, place, start[of], count[of], other_start[of], other_count[of]])
        numbers[:, 0] = PAD
        numbers.transpose(0, 1)[:, batch[of], start[of] + place] = found.to(torch.int32)

    def _fill_target(self, numbers: Tensor, sentences: Tensor, total: int) -> None:
        """Fills numbers (count, TARGET, N); see `Packed.target`."""
        values, offsets = self.target
        rows, batch, other_start, other_count, start, count = sentences
        of, place = _expanded(count, total)
        ended, begun = place == (count - 1)[of], place == 0
        here = offsets[rows][of] + place
        token = torch.where(ended, EOS, values[torch.where(ended, 0, here)])
        before = torch.where(begun, BOS, values[torch.where(begun, 0, here - 1)])
        windows = [start[of], count[of], other_start[of], other_count[of]]
        numbers[:, :2] = PAD
        found = torch.stack([before, token, place, *windows]).to(torch.int32)
        numbers.transpose(0, 1)[:, batch[of], start[of] + place] = found


@dataclass(frozen=True)
class _Placed:
    """The places of sentences in their batches, on one side."""

    lengths: Ints
    starts: Ints

    @classmethod
    def of(cls, ragged: Ragged, rows: Ints, batch: Ints, firsts: npt.NDArray[np.int64]) -> _Placed:
        lengths = ragged.offsets[rows + 1] - ragged.offsets[rows] + 1
        before = np.cumsum(lengths) - lengths
        return cls(lengths, before - before[firsts][batch])


def _expanded(lengths: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Returns for each token of sentences of these lengths: its sentence, and its position in it."""
    numbers = torch.arange(len(lengths), device=lengths.device)
    of = torch.repeat_interleave(numbers, lengths, output_size=total)
    return of, torch.arange(total, device=lengths.device) - (lengths.cumsum(0) - lengths)[of]


def _on(ragged: Ragged, device: torch.device) -> tuple[Tensor, Tensor]:
    """Copies values (int32) and offsets (int64) to a device."""
    values = np.append(ragged.values, np.uint32(0)).view(np.int32)  # never empty, so that index 0 exists
    return torch.from_numpy(values).to(device), torch.from_numpy(ragged.offsets.copy()).to(device)


def _rounded(rows: float) -> int:
    return -(-math.ceil(rows) // _ROUNDED) * _ROUNDED
