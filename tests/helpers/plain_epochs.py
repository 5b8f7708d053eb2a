"""The batches of an epoch as they are defined, on whole arrays of 8-byte integers: the reference of the ones made in blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nmt.config.data import DataConfig
from nmt.corpus.encoded import EncodedCorpus, Ints
from nmt.fast.gpu.packing import Capacity
from nmt.fast.gpu.rounding import Rounding, Shape
from nmt.runtime.device import draws


def select(corpus: EncodedCorpus, max_length: int, first: int = 0) -> tuple[Ints, int]:
    """Rows within the length limit, and the number of those above it."""
    source, target = corpus.source.lengths, corpus.target.lengths
    fits = (source <= max_length) & (target <= max_length)
    rows = np.flatnonzero(fits & (source > 0) & (target > 0))
    return rows[rows >= first], int(np.count_nonzero(~fits[first:]))


def mixed(rows: Ints, parts: list[int], data: DataConfig, seed: int, epoch: int) -> Ints:
    """Rows drawn from several corpora by weight and temperature."""
    weights = np.array(data.weights[: len(parts)])
    groups = np.split(rows, np.searchsorted(rows, np.cumsum(parts)[:-1]))
    sizes = np.array([len(group) for group in groups])
    shares = weights * sizes ** (1 / data.temperature)
    counts = np.round(len(rows) * shares / shares.sum()).astype(int)
    generator = draws(seed, epoch, len(parts))
    drawn: list[Ints] = []
    for group, count in zip(groups, counts, strict=True):
        passes, rest = divmod(int(count), max(len(group), 1))
        drawn += [group] * passes + [generator.choice(group, rest, replace=False)]
    return np.concatenate(drawn)


def plan_epoch(corpus: EncodedCorpus, rows: Ints, tokens: int, seed: int, epoch: int) -> list[Ints]:
    """Padded batches."""
    generator = draws(seed, epoch)
    rows = generator.permutation(rows)
    source, target = corpus.source.lengths[rows], corpus.target.lengths[rows] + 1
    bucket = np.floor(np.log(target) / np.log(1.1)).astype(np.int64)
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


def plan_packed(corpus: EncodedCorpus, rows: Ints, capacity: Capacity, seed: int, epoch: int) -> list[Ints]:
    """Packed batches."""
    rows = draws(seed, epoch).permutation(rows)
    source, target = (np.cumsum(side.lengths[rows] + 1) for side in (corpus.source, corpus.target))
    batches: list[Ints] = []
    start = 0
    while start < len(rows):
        ends = [
            int(np.searchsorted(filled, (filled[start - 1] if start else 0) + room, side="right"))
            for filled, room in ((source, capacity.source), (target, capacity.target))
        ]
        end = max(start + 1, min(ends))
        batches.append(rows[start:end])
        start = end
    return batches


def capacity_for(source: Ints, target: Ints, tokens: int) -> Capacity:
    """Rows of packed batches, from lengths with EOS."""

    def rounded(rows: float) -> int:
        return -(-math.ceil(rows) // 16) * 16

    total, longest = int(target.sum()), int(target.max())
    left_over = float((target.astype(np.float64) ** 2).mean() / (2 * target.mean()))
    batches = max(1, math.ceil(total / max(tokens - left_over, 1)))
    margin = left_over * (1 + 1.5 / math.sqrt(batches)) if batches > 1 else 0.0
    rows = max(longest, min(tokens, rounded(total / batches + margin)))
    ratio = float(source.sum()) / total
    spread = float((source - ratio * target).std()) * math.sqrt(rows / float(target.mean()))
    return Capacity(max(int(source.max()), rounded(ratio * rows + 2.5 * spread)), rows)


def shapes_for(source: Ints, target: Ints, tokens: int) -> tuple[Shape, ...]:
    """Shapes of rounded batches, from lengths with EOS."""
    order = np.sort(target)
    filled = np.cumsum(order)
    cuts = np.searchsorted(filled, filled[-1] * np.arange(1, 11) / 10).clip(max=len(order) - 1)
    shapes: list[Shape] = []
    before = 0
    for width in sorted({int(order[cut]) for cut in cuts} | {int(target.max())}):
        inside = source[(target > before) & (target <= width)]
        usual = int(np.quantile(inside, 0.95)) if len(inside) else 1
        longest = max([usual, *(shape.source for shape in shapes)])
        if width == int(target.max()):
            longest = int(source.max())
        shapes.append(Shape(max(1, tokens // width), longest, width))
        before = width
    return tuple(shapes)


def plan_rounded(layout: Rounding, corpus: EncodedCorpus, rows: Ints, seed: int, epoch: int) -> list[Ints]:
    """Rounded batches."""
    generator = draws(seed, epoch)
    rows = generator.permutation(rows)
    source, target = corpus.source.lengths[rows] + 1, corpus.target.lengths[rows] + 1
    fits = np.stack([(source <= shape.source) & (target <= shape.target) for shape in layout.shapes])
    chosen = fits.argmax(0)
    batches: list[Ints] = []
    left: Ints = np.zeros(0, np.int64)
    for index, shape in enumerate(layout.shapes):
        own = np.concatenate([left, rows[chosen == index]])
        whole = len(own) // shape.sentences * shape.sentences
        batches += np.split(own[:whole], whole // shape.sentences) if whole else []
        left = own[whole:]
    batches += [left] if len(left) else []
    return [batches[index] for index in generator.permutation(len(batches))]


def padding_share(corpus: EncodedCorpus, batches: Sequence[Ints]) -> float:
    """Share of padding among the positions of padded batches."""
    used = allotted = 0
    for side in (corpus.source.lengths + 1, corpus.target.lengths + 1):
        used += sum(int(side[rows].sum()) for rows in batches)
        allotted += sum(int(side[rows].max()) * len(rows) for rows in batches)
    return 1 - used / max(allotted, 1)


def padding_of(layout: Rounding, corpus: EncodedCorpus, batches: Sequence[Ints]) -> float:
    """Share of padding among the positions of rounded batches."""
    used = allotted = 0
    for rows in batches:
        shape = layout.shape_of(corpus, rows)
        used += int((corpus.source.lengths[rows] + corpus.target.lengths[rows] + 2).sum())
        allotted += shape.sentences * (shape.source + shape.target)
    return 1 - used / max(allotted, 1)


def largest(corpus: EncodedCorpus, batches: Sequence[Ints]) -> Ints:
    """The first batch with the most positions."""
    source, target = corpus.source.lengths, corpus.target.lengths
    return max(batches, key=lambda rows: len(rows) * int(source[rows].max() + target[rows].max()))
