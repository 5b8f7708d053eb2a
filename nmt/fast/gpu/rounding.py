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

from nmt.corpus.encoded import EncodedCorpus, Ints
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
    def of(cls, source: Ints, target: Ints, tokens: int) -> Rounding:
        """Chooses shapes for batches of at most `tokens` target tokens, with padding, from sentence lengths, with EOS."""
        order = np.sort(target)
        filled = np.cumsum(order)
        cuts = np.searchsorted(filled, filled[-1] * np.arange(1, _SHAPES + 1) / _SHAPES).clip(max=len(order) - 1)
        shapes: list[Shape] = []
        before = 0
        for width in sorted({int(order[cut]) for cut in cuts} | {int(target.max())}):
            inside = source[(target > before) & (target <= width)]
            usual = int(np.quantile(inside, _USUAL)) if len(inside) else 1
            longest = max([usual, *(shape.source for shape in shapes)])
            if width == int(target.max()):
                longest = int(source.max())
            shapes.append(Shape(max(1, tokens // width), longest, width))
            before = width
        return cls(tuple(shapes))

    def plan(self, corpus: EncodedCorpus, rows: Ints, seed: int, epoch: int) -> list[Ints]:
        """Returns the batches of one epoch, as rows of the corpus."""
        generator = draws(seed, epoch)
        rows = generator.permutation(rows)
        source, target = corpus.source.lengths[rows] + 1, corpus.target.lengths[rows] + 1
        fits = np.stack([(source <= shape.source) & (target <= shape.target) for shape in self.shapes])
        chosen = fits.argmax(0)
        batches: list[Ints] = []
        left: Ints = np.zeros(0, np.int64)
        for index, shape in enumerate(self.shapes):
            own = np.concatenate([left, rows[chosen == index]])
            whole = len(own) // shape.sentences * shape.sentences
            batches += np.split(own[:whole], whole // shape.sentences) if whole else []
            left = own[whole:]
        batches += [left] if len(left) else []
        return [batches[index] for index in generator.permutation(len(batches))]

    def shape_of(self, corpus: EncodedCorpus, rows: Ints) -> Shape:
        """Returns the first shape that a batch fits."""
        longest = (int(side.lengths[rows].max()) + 1 for side in (corpus.source, corpus.target))
        source, target = longest
        return next(shape for shape in self.shapes if shape.holds(len(rows), source, target))

    def padding(self, corpus: EncodedCorpus, batches: Sequence[Ints]) -> float:
        """Returns the share of padding among the positions of these batches, both sides together."""
        used = allotted = 0
        for rows in batches:
            shape = self.shape_of(corpus, rows)
            used += int((corpus.source.lengths[rows] + corpus.target.lengths[rows] + 2).sum())
            allotted += shape.sentences * (shape.source + shape.target)
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
        batch = Rounded(torch.from_numpy(numbers), shape, int((corpus.target.lengths[rows] + 1).sum()))
        source = corpus.source.padded(rows, shape.source, -1, EOS, PAD)
        batch.source[:count] = torch.from_numpy(source)
        batch.lengths[:count] = torch.from_numpy(corpus.source.lengths[rows] + 1)
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
