"""The training batches in order from any place, as a pure function of recipe, corpus and place; computed one ahead."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from nmt.config.data import DataConfig
from nmt.config.recipe import Recipe
from nmt.corpus.bpe_dropout import BpeDropout
from nmt.corpus.denoising import Denoising
from nmt.corpus.encoded import EncodedCorpus, Ints, Ragged, Rows
from nmt.corpus.noise import Typos
from nmt.corpus.plans import Plan
from nmt.corpus.prepared import Prepared
from nmt.errors import DataError
from nmt.fast.gpu.layouts import Layout, StaticBatch, layout_for
from nmt.runtime.device import draws
from nmt.training.batches import Batch, Selection, Sizes, collate, largest, padding_share, plan_epoch, select
from nmt.training.flops import training_flops

_EPOCHS_WITHOUT_PAIRS = 20  # in a row, before training gives up
AUTOMATIC_ON_CPU = 4096  # tokens per batch; memory is not the limit there


@dataclass(frozen=True)
class StreamPosition:
    """A place in the training data."""

    epoch: int = 0
    position: int = 0
    """Number of batches used in this epoch."""


@dataclass(frozen=True)
class Drawn:
    """One batch, with its rows and the next place."""

    rows: Ints
    """Rows of all processes."""
    batch: Batch | StaticBatch
    """The part of this process."""
    flops: float
    """Floating-point operations of this process's part."""
    after: StreamPosition


@dataclass(frozen=True)
class _Epoch:
    """The corpus of one epoch, and its batches."""

    number: int
    corpus: EncodedCorpus
    plan: Plan


@dataclass(frozen=True)
class _Shelved:
    """Batches of an epoch that are laid out together on a device."""

    epoch: int
    first: int
    batches: Sequence[StaticBatch]
    flops_per_token: float
    """Their floating-point operations per target token."""


_Drawing = BpeDropout | Typos
_Side = Ragged | _Drawing


class BatchStream:
    """Draws batches; a background thread prepares the next one."""

    def __init__(self, recipe: Recipe, prepared: Prepared, rank: int = 0, world: int = 1, pinned: bool = False) -> None:
        """Prepares the stream; with `pinned`, batches are in pinned memory for a GPU.

        This process takes every `world`-th row of each batch, from `rank` on, so that the union is the same for any `world`.

        Raises:
            DataError: no training pair fits the length limit.
        """
        self.recipe, self.prepared, self.rank, self.world, self.pinned = recipe, prepared, rank, world, pinned
        self._corpus = prepared.pairs if recipe.training.objective == "translate" else prepared.train
        self.selection = self._select(self._corpus)
        if not len(self.selection.rows):
            raise DataError(f"no training pair has at most training.max_length = {recipe.training.max_length} tokens")
        wanted = recipe.training.batch_tokens
        self.batch_tokens = AUTOMATIC_ON_CPU if wanted == "auto" else wanted
        self._drawn_sides, self._denoising = self._sides(), Denoising.of(recipe, prepared)
        self._epoch: _Epoch | None = None
        self._layout: Layout | None = None
        self._shelved: _Shelved | None = None
        self._device: torch.device | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: tuple[StreamPosition, Future[Drawn]] | None = None

    def draw(self, place: StreamPosition) -> Drawn:
        """Returns the batch at a place."""
        expected, future = self._ahead or (None, None)
        if future is None or expected != place:
            if future is not None:
                future.result()
            future = self._thread.submit(self._draw, place)
        drawn = future.result()
        self._ahead = (drawn.after, self._thread.submit(self._draw, drawn.after))
        return drawn

    def rows(self, place: StreamPosition) -> tuple[Ints, StreamPosition]:
        """Returns the rows of all processes at a place, and the next place; an epoch without a pair that fits is passed over.

        Raises:
            DataError: many epochs in a row have none, as their text is drawn longer than the length limit.
        """
        for number in range(place.epoch, place.epoch + _EPOCHS_WITHOUT_PAIRS + 1):
            plan = self.epoch(number).plan
            if place.position < len(plan):
                return plan[place.position], StreamPosition(number, place.position + 1)
            place = StreamPosition(number + 1, 0)
        training = self.recipe.training
        drawn = [f"training.{key}" for key in ("bpe_dropout", "typos") if getattr(training, key)]
        option = (drawn or ["training.objective" if self._denoising else "data.weight"])[0]
        raise DataError(
            f"no training pair was left in {_EPOCHS_WITHOUT_PAIRS} epochs in a row, as {option} draws them anew: raise "
            f"training.max_length = {training.max_length}, or change {option}"
        )

    def epoch(self, number: int) -> _Epoch:
        """Returns the corpus and the batches of an epoch."""
        if self._epoch is None or self._epoch.number != number:
            self._epoch = None  # its memory is free for the next one
            corpus, rows = self._material(number)
            if self._layout:
                plan = self._layout.plan(corpus, rows, self.recipe.seed, number)
            else:
                plan = plan_epoch(corpus, rows, self.batch_tokens, self.recipe.seed, number)
            self._epoch = _Epoch(number, corpus, plan)
        return self._epoch

    def set_batch_tokens(self, tokens: int) -> None:
        """Plans the epochs anew with padded batches of another size."""
        self.batch_tokens, self._epoch, self._layout, self._device = tokens, None, None, None

    def lay_out(self, device: torch.device | None) -> Layout:
        """Plans the epochs anew with batches of few shapes, laid out on a device; None: the same sentences, padded."""
        self._layout = self._epoch = None
        corpus, rows = self._material(0)
        lengths = [side.small_lengths() + 1 for side in (corpus.source, corpus.target)]
        sides = [side[rows] for side in lengths]
        drawn, limit = self._drawn_sides or self._denoising, self.recipe.training.max_length + 1
        longest = [limit if drawn else int(side[self.selection.rows].max()) for side in lengths]
        if drawn or any(one > side.max() for one, side in zip(longest, sides, strict=True)):  # in other epochs
            sides = [
                np.append(side, np.array(one, np.min_scalar_type(one)))
                for one, side in zip(longest, sides, strict=True)
            ]
        self._layout = layout_for(self.recipe.model, sides[0], sides[1], self.batch_tokens)
        self._device, self._epoch = device, None
        return self._layout

    def padding(self, epoch: _Epoch) -> float:
        """Returns the share of padding among the positions of an epoch's batches, both sides together."""
        if self._layout and self._device:
            return self._layout.padding(epoch.corpus, epoch.plan)
        return padding_share(epoch.corpus, epoch.plan)

    def largest(self) -> Batch:
        """Returns this process's part of the batch of the first epoch with the most positions, padding included."""
        epoch = self.epoch(self.rows(StreamPosition())[1].epoch)
        rows = largest(epoch.corpus, epoch.plan)
        return collate(epoch.corpus, rows[self.rank :: self.world] if len(rows) >= self.world else rows)

    def close(self) -> None:
        """Ends the background thread."""
        self._thread.shutdown(cancel_futures=True)

    def _parts(self) -> list[int]:
        """Returns the number of training pairs of each corpus, and of lines of each text without translations."""
        return self.prepared.parts + (self.prepared.mono if self._denoising else [])

    def _select(self, corpus: EncodedCorpus) -> Selection:
        """Selects the rows that are trained on."""
        unused = 0 if self.recipe.data.weight else self.prepared.parts[0]
        return select(corpus, self.recipe.training.max_length, unused)

    def _draw(self, place: StreamPosition) -> Drawn:
        rows, after = self.rows(place)
        if self._layout and self._device:
            return self._draw_laid_out(rows, after, self._layout, self._device)
        mine = rows[self.rank :: self.world]
        if not len(mine):
            return Drawn(rows, Batch.nothing(), 0.0, after)
        batch = collate(self.epoch(after.epoch).corpus, mine)
        vocabulary = self.prepared.tokenizers.target.vocabulary_size
        flops = training_flops(self.recipe.model, vocabulary, batch)
        return Drawn(rows, batch.pinned() if self.pinned else batch, flops, after)

    def _draw_laid_out(self, rows: Ints, after: StreamPosition, layout: Layout, device: torch.device) -> Drawn:
        """Returns the laid-out batch of these rows, which is the one before the place `after`."""
        epoch, position = self.epoch(after.epoch), after.position - 1
        first = position - position % layout.room
        shelved = self._shelved
        if shelved is None or (shelved.epoch, shelved.first) != (epoch.number, first):
            plan = epoch.plan[first : first + layout.room]
            sizes = _sizes(epoch.corpus, np.concatenate(plan))
            vocabulary = self.prepared.tokenizers.target.vocabulary_size
            flops = training_flops(self.recipe.model, vocabulary, sizes) / sizes.tokens
            shelved = _Shelved(epoch.number, first, layout.lay_out(epoch.corpus, plan, device), flops)
            self._shelved = shelved
        batch = shelved.batches[position - first]
        return Drawn(rows, batch, shelved.flops_per_token * batch.tokens, after)

    def _material(self, epoch: int) -> tuple[EncodedCorpus, Rows]:
        """Returns the corpus of an epoch, and the rows that it trains on."""
        corpus, rows = self._corpus, self.selection.rows
        if self._drawn_sides or self._denoising:
            corpus = self._drawn(epoch)
            rows = self._select(corpus).rows
        return corpus, mixed(rows, self._parts(), self.recipe.data, self.recipe.seed, epoch)

    def _drawn(self, epoch: int) -> EncodedCorpus:
        """Returns the corpus of an epoch, with sides that are drawn anew, and lines that are noised anew."""
        sides = self._drawn_sides or (self._corpus.source, self._corpus.target)
        corpus = EncodedCorpus(*(side.epoch(epoch) if isinstance(side, _Drawing) else side for side in sides))
        return self._denoising.epoch(corpus, epoch) if self._denoising else corpus

    def _sides(self) -> tuple[_Side, _Side] | None:
        """Returns both sides of the corpus if one is drawn anew for each epoch, by BPE-dropout or with typing errors."""
        tokenizers, corpus = self.prepared.tokenizers, self._corpus
        training, seed = self.recipe.training, self.recipe.seed
        if probability := training.bpe_dropout:
            return (
                BpeDropout(tokenizers.source, corpus.source, probability, f"{seed} source"),
                BpeDropout(tokenizers.target, corpus.target, probability, f"{seed} target"),
            )
        if training.typos:
            lines = self.prepared.tagged_sources()[: len(corpus)]
            symbols = self.recipe.tokenizer.user_symbols
            return Typos(tokenizers.source, lines, training.typos, f"{seed} typos", symbols), corpus.target
        return None


def _sizes(corpus: EncodedCorpus, rows: Ints) -> Sizes:
    return Sizes(*(torch.from_numpy(side.lengths_of(rows) + 1) for side in (corpus.source, corpus.target)))


def mixed(rows: Rows, parts: list[int], data: DataConfig, seed: int, epoch: int) -> Rows:
    """Draws the rows of an epoch from several corpora by weight and temperature; whole passes first, about as many rows.

    Args:
        rows: rows to draw from, ascending.
        parts: number of pairs of each corpus, then of lines of each text without translations, one after the other.
        data: weights and temperature.
        seed: seeds the draws, together with the epoch.
        epoch: number of the epoch.
    """
    weights = np.array(data.weights[: len(parts)])
    if len(parts) < 2 or (data.temperature == 1 and (weights == weights[0]).all()):
        return rows
    groups = np.split(rows, np.searchsorted(rows, np.cumsum(parts)[:-1].astype(rows.dtype)))
    sizes = np.array([len(group) for group in groups])
    shares = weights * sizes ** (1 / data.temperature)
    counts = np.round(len(rows) * shares / shares.sum()).astype(int)
    generator = draws(seed, epoch, len(parts))
    drawn: list[Rows] = []
    for group, count in zip(groups, counts, strict=True):
        passes, rest = divmod(int(count), max(len(group), 1))
        drawn += [group] * passes + [generator.choice(group, rest, replace=False)]
    return np.concatenate(drawn)
