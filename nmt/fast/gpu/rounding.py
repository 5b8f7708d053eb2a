"""Padded batches of only a few shapes, for models that read a sentence step by step; each shape has a CUDA graph.

A sentence goes to the first shape that is long enough on both sides. Sentences that fill no batch of their shape at the end
of an epoch go to the next shape, so that few batches have empty rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nmt.corpus.encoded import EncodedCorpus, Ints, Lengths, Rows, blocks
from nmt.corpus.plans import Plan, grouped, tally, total
from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.runtime.device import draws

_SHAPES = 10
_USUAL = 0.95  # share of sentences of a target length whose source fits their shape

# B sentences, S source positions, T target positions


@dataclass(frozen=True)
class Shape:
    """The shape of a padded batch."""

    sentences: int
    source: int
    target: int

    @property
    def numbers(self) -> int:
        """Number of integers of a batch, its token count included."""
        return self.sentences * (self.source + 1 + 2 * self.target) + 1

    def holds(self, sentences: int, source: int, target: int) -> bool:
        """Whether so many sentences of at most these lengths fit."""
        return sentences <= self.sentences and source <= self.source and target <= self.target


@dataclass(frozen=True)
class Rounded:
    """One padded batch, as views of its int32 numbers. A row without a sentence has a source of one EOS and no target."""

    numbers: Tensor
    """(`Shape.numbers`,)"""
    capacity: Shape
    tokens: int
    """Number of target tokens, with EOS and without padding."""

    @property
    def source(self) -> Tensor:
        """Tokens (B, S)."""
        return self._part(0, self.capacity.source)

    @property
    def lengths(self) -> Tensor:
        """(B,) source lengths, with EOS."""
        return self._part(self.capacity.source, 1).squeeze(1)

    @property
    def target_input(self) -> Tensor:
        """Tokens (B, T), beginning with BOS."""
        return self._part(self.capacity.source + 1, self.capacity.target)

    @property
    def wanted(self) -> Tensor:
        """(B * T,) target tokens, PAD where there is none."""
        return self._part(self.capacity.source + 1 + self.capacity.target, self.capacity.target).flatten()

    @property
    def count(self) -> Tensor:
        """(1,) number of target tokens."""
        return self.numbers[-1:]

    def on(self, numbers: Tensor) -> Rounded:
        """Returns the same batch with its numbers in other memory."""
        return Rounded(numbers, self.capacity, self.tokens)

    def _part(self, first: int, width: int) -> Tensor:
        start = self.capacity.sentences * first
        return self.numbers[start : start + self.capacity.sentences * width].view(self.capacity.sentences, width)


@dataclass(frozen=True)
class Rounding:
    """The shapes of a training, shortest first; every sentence fits the last one."""

    shapes: tuple[Shape, ...]

    @property
    def room(self) -> int:
        """Number of batches to lay out at once."""
        return 1

    @classmethod
    def of(cls, source: Lengths, target: Lengths, tokens: int) -> Rounding:
        """Chooses shapes for batches of at most `tokens` target tokens, with padding, from sentence lengths, with EOS."""
        counts = tally(target[part] for part in blocks(len(target)))
        filled = np.cumsum(counts * np.arange(len(counts)))  # tokens of sentences up to each length
        cuts = np.searchsorted(filled, filled[-1] * np.arange(1, _SHAPES + 1) / _SHAPES).clip(max=len(counts) - 1)
        shapes: list[Shape] = []
        before = 0
        for width in sorted({int(width) for width in cuts} | {len(counts) - 1}):
            inside = source[(target > before) & (target <= width)]
            usual = int(np.quantile(inside, _USUAL)) if len(inside) else 1
            longest = max([usual, *(shape.source for shape in shapes)])
            if width == len(counts) - 1:
                longest = int(source.max())
            shapes.append(Shape(max(1, tokens // width), longest, width))
            before = width
        return cls(tuple(shapes))

    def plan(self, corpus: EncodedCorpus, rows: Rows, seed: int, epoch: int) -> Plan:
        """Returns the batches of one epoch, as rows of the corpus."""
        generator = draws(seed, epoch)
        rows = generator.permutation(rows)
        source, target = corpus.source.small_lengths(), corpus.target.small_lengths()

        def chosen(part: Rows) -> Lengths:
            own = source[part], target[part]  # without EOS
            return np.stack([(own[0] < shape.source) & (own[1] < shape.target) for shape in self.shapes]).argmax(0)

        rows = grouped(rows, chosen)
        ends = np.cumsum(tally(chosen(rows[part]) for part in blocks(len(rows))))
        begin, bounds = 0, [np.zeros(1, np.int64)]
        for end, shape in zip(ends, self.shapes, strict=False):  # of the last shapes there may be none
            bounds.append(np.arange(begin, end + 1, shape.sentences)[1:])
            begin += len(bounds[-1]) * shape.sentences
        bounds.append(np.arange(len(rows), len(rows) + (begin < len(rows))))  # what fills no batch is the last one
        cuts = np.concatenate(bounds)
        return Plan(rows, cuts, generator.permutation(len(cuts) - 1))

    def shape_of(self, corpus: EncodedCorpus, rows: Ints) -> Shape:
        """Returns the first shape that a batch fits."""
        source, target = (int(side.lengths_of(rows).max()) + 1 for side in (corpus.source, corpus.target))
        return self._first(len(rows), source, target)

    def _first(self, sentences: int, source: int, target: int) -> Shape:
        return next(shape for shape in self.shapes if shape.holds(sentences, source, target))

    def padding(self, corpus: EncodedCorpus, plan: Plan) -> float:
        """Returns the share of padding among the positions of these batches, both sides together."""
        sides = [side.small_lengths() for side in (corpus.source, corpus.target)]
        longest = (plan.longest(lengths) + 1 for lengths in sides)
        shapes = [self._first(*map(int, sizes)) for sizes in zip(plan.sizes, *longest, strict=True)]
        used = sum(total(plan.rows, lengths) + len(plan.rows) for lengths in sides)
        allotted = sum(shape.sentences * (shape.source + shape.target) for shape in shapes)
        return 1 - used / max(allotted, 1)

    def empty(self, device: torch.device) -> list[Rounded]:
        """Returns a batch without sentences for each shape."""
        return [Rounded(torch.from_numpy(_blank(shape)).to(device), shape, 0) for shape in self.shapes]

    def lay_out(self, corpus: EncodedCorpus, batches: Sequence[Ints], device: torch.device) -> list[Rounded]:
        """Lays batches of rows of the corpus out on a device."""
        return [self._laid_out(corpus, rows, device) for rows in batches]

    def _laid_out(self, corpus: EncodedCorpus, rows: Ints, device: torch.device) -> Rounded:
        shape = self.shape_of(corpus, rows)
        numbers, count = _blank(shape), len(rows)
        batch = Rounded(torch.from_numpy(numbers), shape, int((corpus.target.lengths_of(rows) + 1).sum()))
        source = corpus.source.padded(rows, shape.source, -1, EOS, PAD)
        batch.source[:count] = torch.from_numpy(source)
        batch.lengths[:count] = torch.from_numpy(corpus.source.lengths_of(rows) + 1)
        batch.target_input[:count] = torch.from_numpy(corpus.target.padded(rows, shape.target, BOS, -1, PAD))
        wanted = corpus.target.padded(rows, shape.target, -1, EOS, PAD)
        batch.wanted.view(-1, shape.target)[:count] = torch.from_numpy(wanted)
        numbers[-1] = batch.tokens
        held = batch.numbers.pin_memory() if device.type == "cuda" else batch.numbers
        return batch.on(held.to(device, non_blocking=True))


def _blank(shape: Shape) -> npt.NDArray[np.int32]:
    """Returns the numbers of a batch without sentences."""
    numbers = np.full(shape.numbers, PAD, dtype=np.int32)
    batch = Rounded(torch.from_numpy(numbers), shape, 0)
    batch.source[:, 0], batch.target_input[:, 0] = EOS, BOS
    batch.lengths.fill_(1)
    numbers[-1] = 0
    return numbers
