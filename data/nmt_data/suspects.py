"""Finds the training pairs whose loss under a model stays highest: what a model does not learn is often no translation.

Swayamdipta et al. 2020, "Dataset cartography", so rank examples by their mean probability over the checkpoints of a training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from nmt.config.paths import model_root
from nmt.config.recipe import Recipe
from nmt.corpus.encoded import Rows
from nmt.corpus.lazy_lines import LazyLines, mapped_lines
from nmt.corpus.prepared import Prepared
from nmt.decoding.beam_search import score_targets
from nmt.errors import CheckpointError, DataError
from nmt.fast.inference import for_inference
from nmt.runtime.stages import stage
from nmt.runtime.untrusted import read_object
from nmt.storage.bundle import load_model, locate, read_card, read_recipe
from nmt.storage.checkpoint import PROGRESS, checkpoints
from nmt.training.batches import Sizes, collate, plan_epoch, select
from nmt.training.flops import training_flops
from nmt_data.cleaning.pairs import Pairs
from nmt_data.origins import UNKNOWN, Numbers, numbers
from nmt_data.parts import parts_of
from nmt_data.prepare import prepare
from nmt_data.reasons import lexicon_of, reasons
from nmt_data.texts import Say

Losses = npt.NDArray[np.float32]
_OPERATIONS = {"cpu": 4e12, "cuda": 4e14}  # of all passes, unless a sample is asked for: minutes on a small machine
_LOGITS = {"cpu": 1 << 24, "cuda": 1 << 28}  # numbers among the logits of a batch
_MEASURED = 1000  # pairs that tell how much work a pair is


@dataclass(frozen=True)
class Trained:
    """The models of a run, and the corpus that they were trained on."""

    models: Sequence[Path]
    """The earliest and the last checkpoint; one, if there are no two."""
    recipe: Recipe
    prepared: Prepared

    @classmethod
    def open(cls, run: Path, say: Say = lambda _: None) -> Trained:
        """Finds the models of a run and prepares its corpus, unless that is done.

        Raises:
            CheckpointError: there is no model, or the corpus that it was trained on is not known or another one.
            DataError: the corpus is gone or holds no pairs.
        """
        saved = checkpoints(run / "checkpoints")
        models = [saved[0], saved[-1]][-len(saved) :] if saved else [locate(run)]
        recipe = read_recipe(model_root(models[-1]))
        prepared = prepare(recipe, say)
        for model in models:
            told = read_object(model / PROGRESS) if (model / PROGRESS).exists() else read_card(model)
            if not (corpus := told.get("corpus")):
                raise CheckpointError(f"{run}: {model.name} does not say what corpus it was trained on")
            if corpus != prepared.fingerprint:
                raise CheckpointError(f"{run}: its corpus is no longer the one that {model.name} was trained on")
        return cls(models, recipe, prepared)

    @cached_property
    def rows(self) -> Rows:
        """The pairs that training reads: those with 1 to `training.max_length` tokens a side."""
        return select(self.prepared.pairs, self.recipe.training.max_length).rows

    @cached_property
    def text(self) -> tuple[LazyLines, LazyLines]:
        """The sources and targets of the prepared corpus, read when a line is asked for."""
        folder = self.prepared.folder
        return mapped_lines(folder / "train.source"), mapped_lines(folder / "train.target")

    def affordable(self, device: torch.device) -> int:
        """Returns how many pairs can be scored within some minutes on a small machine."""
        pairs = self.prepared.pairs
        rows = _spread(self.rows, _MEASURED)
        lengths = (torch.from_numpy(np.asarray(side.lengths_of(rows)) + 1) for side in (pairs.source, pairs.target))
        vocabulary = self.prepared.tokenizers.target.vocabulary_size
        forward = training_flops(self.recipe.model, vocabulary, Sizes(*lengths)) / 3 / len(rows)
        return max(_MEASURED, int(_OPERATIONS[device.type] / (forward * len(self.models))))


@dataclass(frozen=True)
class Entry:
    """A training pair and its losses."""

    part: int
    """Which of the corpora of the recipe it is in, from 0."""
    line: int | None
    """Its line in the files of the corpus or, in others than text, its number among the entries; None: not known."""
    source: str
    target: str
    losses: tuple[float, ...]
    """By model, the earliest first."""


@dataclass(frozen=True)
class Ledger:
    """The losses of training pairs under the models of a run, in nats per target token, the end of sentence counted."""

    trained: Trained
    rows: Rows
    """(N,) rows of the prepared corpus, ascending."""
    losses: Losses
    """(models, N)"""

    @classmethod
    def of(cls, trained: Trained, device: torch.device, sample: int | None = None) -> Ledger:
        """Scores pairs by forced decoding, with each of the models.

        Args:
            trained: the models and the corpus.
            device: where to compute.
            sample: number of pairs, evenly spread over the corpus; None: as many as can be scored within some minutes.

        Raises:
            DataError: no pair is short enough to be trained on.
        """
        if not len(trained.rows):
            raise DataError("no training pair is within training.max_length: there is nothing to score")
        rows = _spread(trained.rows, sample or trained.affordable(device))
        return cls(trained, rows, np.stack([_losses(trained, model, rows, device) for model in trained.models]))

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """(N,) places in `rows`: first those whose mean loss over the models is highest."""
        return np.argsort(-self.losses.mean(0), kind="stable")

    @property
    def corpora(self) -> list[str]:
        """The names of the corpora of the recipe."""
        return [part["corpus"] for part in self.trained.prepared.report["parts"]]

    @cached_property
    def _lines(self) -> Numbers:
        return numbers(self.trained.recipe, self.trained.prepared)

    def entries(self, count: int | None = None) -> Iterator[Entry]:
        """Yields the pairs in that order, at most `count`; the corpus is read again for their lines."""
        (source, target), ends, lines = self.trained.text, np.cumsum(self.trained.prepared.parts), self._lines
        for place in self.order[:count].tolist():
            row = int(self.rows[place])
            part = int(np.searchsorted(ends, row, "right"))
            line = int(lines[row]) if lines[row] != UNKNOWN else None
            yield Entry(part, line, source[row], target[row], tuple(self.losses[:, place].tolist()))

    def reasons(self, entries: Sequence[Entry]) -> list[list[str]]:
        """Returns for each of the entries the reasons for which a filter would drop it."""
        (source, target), parts = self.trained.text, parts_of(self.trained.recipe)
        sizes = self.trained.prepared.parts
        found: list[list[str]] = [[] for _ in entries]
        for number, end in enumerate(accumulate(sizes)):
            own = [place for place, entry in enumerate(entries) if entry.part == number]
            if own:
                languages, whole = parts[number].languages, slice(end - sizes[number], end)
                lexicon = lexicon_of(source[whole], target[whole], languages)
                sides = [entries[place].source for place in own], [entries[place].target for place in own]
                for place, told in zip(own, reasons(Pairs(*sides, languages), lexicon), strict=True):
                    found[place] = told
        return found


def _spread(rows: Rows, count: int) -> Rows:
    """Returns at most so many of the rows, evenly spread."""
    return rows if count >= len(rows) else rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]


def _losses(trained: Trained, path: Path, rows: Rows, device: torch.device) -> Losses:
    """Returns the loss of each row (N,) under a model."""
    corpus, vocabulary = trained.prepared.pairs, trained.prepared.tokenizers.target.vocabulary_size
    model = for_inference(load_model(path).model, device, "fp32")
    losses = np.empty(len(rows), np.float32)
    plan = plan_epoch(corpus, rows, max(256, _LOGITS[device.type] // vocabulary), 0, 0)
    with stage(f"scoring pairs by {path.name}", len(rows), "pairs") as here:
        for chunk in plan:
            batch = collate(corpus, chunk)
            inputs, outputs = batch.target_input.to(device), batch.target_output.to(device)
            values = score_targets(model, batch.source.to(device), batch.lengths, inputs, outputs)
            losses[np.searchsorted(rows, chunk)] = (-values.double().sum(1).cpu() / batch.target_lengths).numpy()
            here.done += len(chunk)
    return losses
