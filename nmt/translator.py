"""Lines in, lines out: as many, in the same order, whatever they hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from nmt.batching import search_batches
from nmt.checkpoint import LoadedModel, load_model
from nmt.config import SearchConfig
from nmt.dataset import Ragged
from nmt.device import Precision, autocast, choose_device, choose_precision
from nmt.errors import DataError
from nmt.search import Hypothesis, beam_search, score_targets
from nmt.text import clean_line
from nmt.tokenizer import BOS, EOS, PAD


@dataclass(frozen=True)
class Translation:
    """One translation of one line."""

    text: str
    log_probability: float
    """Natural logarithm of its probability, end of sentence counted."""
    score: float
    """Log-probability divided by the length penalty."""
    tokens: int
    """Length in tokens, end of sentence counted."""


class TargetScore(NamedTuple):
    """How probable a given translation is."""

    log_probability: float
    tokens: int


@dataclass
class Report:
    """What happened to lines on their way; every cut is counted."""

    lines: int = 0
    blank: int = 0
    source_cut: int = 0
    """Lines longer than the limit, of which only the beginning was translated."""
    target_cut: int = 0
    """Translations that were ended at the length limit."""
    notes: list[str] = field(default_factory=list[str])

    def summary(self) -> list[str]:
        """Sentences for the user, none if nothing happened."""
        lines = list(self.notes)
        if self.source_cut:
            lines.append(f"{self.source_cut} lines were longer than the limit; only their beginning was translated")
        if self.target_cut:
            lines.append(f"{self.target_cut} translations were ended at the length limit")
        return lines


class Translator:
    """A model on a device, with its tokenizers and search settings."""

    def __init__(
        self,
        loaded: LoadedModel,
        device: torch.device | None = None,
        search: SearchConfig | None = None,
        precision: Precision = "fp32",
        batch_size: int | None = None,
        max_source: int = 1024,
    ) -> None:
        """Puts the model on the device.

        Args:
            loaded: from `nmt.checkpoint.load_model`.
            device: where to compute; the CPU if left out.
            search: replaces the search settings of the recipe.
            precision: arithmetic of matrix products.
            batch_size: sentences per batch instead of a budget of tokens.
            max_source: longest source in tokens; what is longer is cut and counted.
        """
        self.device = device or torch.device("cpu")
        self.model = loaded.model.to(self.device)
        self.tokenizers = loaded.tokenizers
        self.recipe, self.card = loaded.recipe, loaded.card
        self.search = search or loaded.recipe.search
        self.precision: Precision = precision
        self.batch_size, self.max_source = batch_size, max_source
        self.report = Report()

    def translate(self, lines: Sequence[str]) -> list[str]:
        """One translation per line, in order; blank lines stay blank."""
        return [best[0].text for best in self.translate_n_best(lines, 1)]

    def translate_stream(self, lines: Iterable[str], count: int = 1, window: int = 4096) -> Iterator[list[Translation]]:
        """The `count` best translations of each line of an endless stream, in bounded memory: `window` lines at a time."""
        stream = iter(lines)
        while chunk := list(islice(stream, window)):
            yield from self.translate_n_best(chunk, count)

    def translate_n_best(self, lines: Sequence[str], count: int) -> list[list[Translation]]:
        """The `count` best translations per line, best first; a blank line has one, the empty one.

        Raises:
            DataError: more were asked for than the beam holds.
        """
        if count > self.search.beam:
            raise DataError(f"{count} best translations need a beam of {count} at least, got {self.search.beam}")
        ids = self._encode_source(lines)
        hypotheses: list[list[Hypothesis]] = [[] for _ in lines]
        filled = [index for index, tokens in enumerate(ids) if tokens]
        lengths = [len(ids[index]) + 1 for index in filled]
        for batch in search_batches(lengths, self.search.batch_tokens, self.search.beam, self.batch_size):
            rows = [filled[index] for index in batch]
            for row, found in zip(rows, self._search([ids[row] for row in rows], count), strict=True):
                hypotheses[row] = found
        self.report.target_cut += sum(found[0].cut for found in hypotheses if found)
        return self._to_text(hypotheses)

    def score_targets(self, sources: Sequence[str], targets: Sequence[str]) -> list[TargetScore]:
        """Log-probability of each target given its source, by forced decoding."""
        source_ids = self._encode_source(sources)
        target_ids = self.tokenizers.target.encode(self._cleaned(targets))
        scores: list[TargetScore] = [TargetScore(0.0, 0)] * len(sources)
        lengths = [max(len(source), len(target)) + 1 for source, target in zip(source_ids, target_ids, strict=True)]
        for batch in search_batches(lengths, self.search.batch_tokens, 1, self.batch_size):
            sums = self._force([source_ids[row] for row in batch], [target_ids[row] for row in batch])
            for row, value in zip(batch, sums, strict=True):
                scores[row] = TargetScore(value, len(target_ids[row]) + 1)
        return scores

    def _encode_source(self, lines: Sequence[str]) -> list[list[int]]:
        cleaned = self._cleaned(lines)
        # A giant line is cut before it is tokenised: no token of text is longer than its characters are many.
        ids = self.tokenizers.source.encode([line[: self.max_source * 32] for line in cleaned])
        self.report.lines += len(lines)
        self.report.blank += sum(not tokens for tokens in ids)
        self.report.source_cut += sum(len(tokens) > self.max_source for tokens in ids)
        return [tokens[: self.max_source] for tokens in ids]

    def _cleaned(self, lines: Sequence[str]) -> list[str]:
        """Lines as the model knows text: without control characters, and lower-cased if it was trained so."""
        cleaned = [clean_line(line) for line in lines]
        return [line.lower() for line in cleaned] if self.recipe.data.lowercase else cleaned

    def _search(self, ids: list[list[int]], count: int) -> list[list[Hypothesis]]:
        source, lengths = _pad(ids, before=-1, after=EOS)
        with autocast(self.device, self.precision):
            return beam_search(self.model, source.to(self.device), lengths, self.search, count)

    def _force(self, source_ids: list[list[int]], target_ids: list[list[int]]) -> list[float]:
        source, lengths = _pad(source_ids, before=-1, after=EOS)
        inputs, outputs = _pad(target_ids, before=BOS, after=-1)[0], _pad(target_ids, before=-1, after=EOS)[0]
        with autocast(self.device, self.precision):
            values = score_targets(
                self.model, source.to(self.device), lengths, inputs.to(self.device), outputs.to(self.device)
            )
        return values.double().sum(1).tolist()

    def _to_text(self, hypotheses: list[list[Hypothesis]]) -> list[list[Translation]]:
        flat = [hypothesis for found in hypotheses for hypothesis in found]
        texts = iter(self.tokenizers.target.decode([hypothesis.tokens for hypothesis in flat]))
        return [
            [
                Translation(clean_line(next(texts)), item.log_probability, item.score, len(item.tokens) + 1)
                for item in found
            ]
            or [Translation("", 0.0, 0.0, 0)]
            for found in hypotheses
        ]


def load(path: str | Path, device: str = "auto", **search: object) -> Translator:
    """Loads a bundle, run folder or checkpoint: `nmt.load("runs/x", beam=1).translate(["Guten Tag."])`.

    Raises:
        CheckpointError: nothing usable is there.
    """
    loaded = load_model(Path(path))
    place = choose_device(device)
    settings = SearchConfig.model_validate({**loaded.recipe.search.model_dump(), **search})
    return Translator(loaded, place, settings, choose_precision("auto", place) if place.type == "cuda" else "fp32")


def _pad(ids: list[list[int]], before: int, after: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, S) between the special tokens that are not negative, and their lengths (B,)."""
    counts = [len(tokens) for tokens in ids]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    ragged = Ragged(np.array([token for tokens in ids for token in tokens], dtype=np.uint32), offsets)
    extra = int(before >= 0) + int(after >= 0)
    matrix = ragged.padded(np.arange(len(ids)), max(counts) + extra, before, after, PAD)
    return torch.from_numpy(matrix), torch.from_numpy(ragged.lengths + extra)
