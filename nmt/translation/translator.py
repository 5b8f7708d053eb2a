"""Translates lines: one result per line, in order, for any input."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Sequence
from typing import overload

import torch

from nmt.config.reading import parse_search
from nmt.config.search import SearchConfig, check_count
from nmt.corpus.lines import text_lines
from nmt.decoding.beam_search import Engine, Hypothesis
from nmt.decoding.constrained import NOTHING
from nmt.decoding.ensemble import Ensemble
from nmt.errors import ConfigError, DataError
from nmt.runtime.device import SearchPrecision
from nmt.runtime.memory import check_search, collected_later
from nmt.runtime.stages import counted_batches
from nmt.scoring.tokenization import check_tokenization, default_tokenization
from nmt.storage.bundle import LoadedModel
from nmt.translation.decoder import Decoder
from nmt.translation.demands import Demands
from nmt.translation.hypothesis_attention import attention_of
from nmt.translation.result import (
    Options,
    Report,
    SearchBatch,
    Start,
    TargetScore,
    Translation,
    by_agreement,
    joined_parts,
)
from nmt.translation.source import SourceText, TargetText
from nmt.translation.wording import Wording

_NO_START = Start()


class Translator:
    """A model on a device, with its tokenizers and search settings."""

    def __init__(
        self,
        loaded: LoadedModel,
        device: torch.device | None = None,
        search: SearchConfig | None = None,
        precision: SearchPrecision = "fp32",
        batch_size: int | None = None,
        options: Options | None = None,
        others: Sequence[LoadedModel] = (),
        engine: Engine | None = None,
    ) -> None:
        """Puts the model on the device.

        Args:
            loaded: from `nmt.storage.bundle.load_model`.
            device: where to compute; the CPU if left out.
            search: replaces the search settings of the recipe.
            precision: of weights and arithmetic.
            batch_size: sentences per batch instead of a budget of tokens.
            options: what is wanted beside plain search.
            others: models that vote with this one; their vocabularies must be the same.
            engine: searches instead of our own.

        Raises:
            ConfigError: the models, or the engine and the options, do not go together, or the language is not the model's.
        """
        self.device, self.options = device or torch.device("cpu"), options or Options()
        check_ensemble(loaded, others)
        self.tokenizers, self.recipe, self.card = loaded.tokenizers, loaded.recipe, loaded.card
        self.parameter_count = sum(item.model.parameter_count for item in (loaded, *others))
        search = search or loaded.recipe.search
        check_search(search, self.tokenizers.target.vocabulary_size, self.device)
        self.decoder = Decoder((loaded, *others), self.device, search, precision, batch_size, self.options, engine)
        self.report = Report()
        self._set(self.options)
        if self.options.mbr == "bleu":
            check_tokenization(default_tokenization(self.target.language))

    def _set(self, options: Options) -> None:
        """Prepares what reads sources and writes translations."""
        self.options = options
        drawing = self.card.get("drawing")
        self.source = SourceText(self.tokenizers.source, self.recipe, options, self.report, drawing)
        self.target = TargetText(self.tokenizers.target, self.recipe, options, self.report)
        self._demands = Demands(self.tokenizers.target, self.target.cleaned, options.word_starts)
        self._forbidden = self._demands.forbidden(options.forbidden, self.device, self.report)
        self.wording = Wording(self.tokenizers, options, self._forbidden)

    def __repr__(self) -> str:
        model, data = self.decoder.model, self.recipe.data
        kind = f"{len(model.models)} models" if isinstance(model, Ensemble) else self.recipe.model.kind
        size = f"{self.parameter_count:,} parameters"
        languages, beam = f"{data.source}-{data.target}", f"beam {self.search.beam}"
        return f"<Translator {self.recipe.name}: {languages}, {kind}, {size}, {beam}, {self.device}>"

    @property
    def search(self) -> SearchConfig:
        """The search settings."""
        return self.decoder.search

    def with_search(self, **changes: object) -> Translator:
        """Returns the same translator with other search settings; they share the report.

        Raises:
            ConfigError: a setting is unknown or wrong, or the options or the engine do not go with it.
        """
        other = copy.copy(self)
        other.decoder = self.decoder.with_search(parse_search(self.search, changes))
        return other

    def with_text(self, target_language: str | None = None, align: bool = False) -> Translator:
        """Returns the same translator into another target language, or with links between words; they share the report.

        Raises:
            ConfigError: the model has no such target language.
        """
        other = copy.copy(self)
        other._set(dataclasses.replace(self.options, target_language=target_language, align=align))
        return other

    @overload
    def translate(  # type: ignore[overload-overlap]  # text is an iterable of text too; the first that fits is meant
        self, lines: str, *, beam: int | None = None
    ) -> str: ...
    @overload
    def translate(  # type: ignore[overload-overlap]  # as above
        self, lines: str, *, n_best: int, beam: int | None = None
    ) -> list[str]: ...
    @overload
    def translate(self, lines: Iterable[str], *, beam: int | None = None) -> list[str]: ...
    @overload
    def translate(self, lines: Iterable[str], *, n_best: int, beam: int | None = None) -> list[list[str]]: ...
    def translate(
        self, lines: str | Iterable[str], *, n_best: int | None = None, beam: int | None = None
    ) -> str | list[str] | list[list[str]]:
        """Returns one translation per line, in order; for one sentence, one text. Blank lines stay blank.

        Args:
            lines: one sentence, or several.
            n_best: translations per line, as a list, best first; if left out, only the best.
            beam: hypotheses per sentence; the translator's own if left out.

        Raises:
            TextError: the lines are not text.
        """
        found = self.translate_n_best(lines, 1 if n_best is None else n_best, beam=beam)
        if n_best is None:
            texts = [best[0].text for best in found]
            return texts[0] if isinstance(lines, str) else texts
        several = [[item.text for item in best] for best in found]
        return several[0] if isinstance(lines, str) else several

    @collected_later()
    def translate_n_best(
        self,
        lines: str | Iterable[str],
        count: int,
        prefixes: Sequence[str] | None = None,
        first: int = 0,
        beam: int | None = None,
    ) -> list[list[Translation]]:
        """Returns the `count` best translations per line, best first; a blank line gets one empty translation.

        Args:
            lines: to be translated.
            count: translations per line, at most the beam.
            prefixes: the forced beginning of each translation; may be blank.
            first: number of the first line, for the draws of sampling.
            beam: hypotheses per sentence; the translator's own if left out.

        Raises:
            TextError: the lines are not text.
            DataError: `count` exceeds the beam, or the numbers of prefixes and lines differ.
        """
        if beam is not None:
            return self.with_search(beam=beam).translate_n_best(lines, count, prefixes, first)
        lines, prefixes = text_lines(lines), None if prefixes is None else text_lines(prefixes)
        check_count(count, self.search.beam)
        if prefixes is not None and len(prefixes) != len(lines):
            raise DataError(f"{len(lines)} lines but {len(prefixes)} prefixes")
        if prefixes is not None and (self.decoder.engine is not None or self.decoder.shortlisted):
            raise ConfigError("prefixes go with our own search over the whole vocabulary alone")
        lines, required = self._demands.of_lines(lines, self.options.constrained, self._forbidden, self.report)
        source = self.source.encoded(lines)
        ids, owners = source.ids, source.owners
        starts = [_NO_START] * len(lines) if prefixes is None else self.target.starts(prefixes)
        parts: list[list[Translation]] = [[] for _ in ids]
        filled = [index for index, tokens in enumerate(ids) if tokens]
        self.report.unmet += sum(required[owners[row]] is not NOTHING for row, tokens in enumerate(ids) if not tokens)
        lengths = [len(ids[index]) + 1 for index in filled]
        mbr = self.options.mbr
        plain = prefixes is None and not self.options.constrained and self._forbidden is None
        for places in counted_batches(self.decoder.batches(lengths, plain), "translating"):
            rows = [filled[index] for index in places]
            fresh = [row == 0 or owners[row - 1] != owners[row] for row in rows]
            batch = SearchBatch(
                [ids[row] for row in rows],
                [starts[owners[row]] if new else _NO_START for row, new in zip(rows, fresh, strict=True)],
                [first + owners[row] for row in rows],
                [required[owners[row]] if new else NOTHING for row, new in zip(rows, fresh, strict=True)],
            )
            wanted = self.search.beam if mbr else count
            hypotheses = self.decoder.search_batch(batch, wanted)
            if self._forbidden is not None:
                hypotheses = self.decoder.allowed(batch, hypotheses, wanted, self._forbidden)
            found = _to_text(self, batch, hypotheses, [source.texts[row] for row in rows])
            for row, translations in zip(rows, found, strict=True):
                parts[row] = by_agreement(translations, mbr, self.target.language)[:count] if mbr else translations
        return joined_parts(parts, source, len(lines), self.source.words(source.texts) if self.options.align else None)

    def score_targets(self, sources: Iterable[str], targets: Iterable[str]) -> list[TargetScore]:
        """Returns the log-probability of each target given its source, by forced decoding; cut sources are counted.

        Raises:
            TextError: a side is not text.
            DataError: the sides differ in length.
        """
        sources, targets = text_lines(sources), text_lines(targets)
        if len(sources) != len(targets):
            raise DataError(f"{len(sources)} sources but {len(targets)} targets")
        source_ids, target_ids = self.source.cut(sources), self.target.tokens(targets)
        scores: list[TargetScore] = [TargetScore(0.0, 0)] * len(sources)
        lengths = [max(len(source), len(target)) + 1 for source, target in zip(source_ids, target_ids, strict=True)]
        for batch in counted_batches(self.decoder.forced_batches(lengths), "scoring"):
            sums = self.decoder.forced([source_ids[row] for row in batch], [target_ids[row] for row in batch])
            for row, value in zip(batch, sums, strict=True):
                scores[row] = TargetScore(value, len(target_ids[row]) + 1)
        return scores

    def encode(self, line: str) -> list[int]:
        """Returns the source tokens of a line, cut at the limit."""
        return self.source.tokens([line])[0][: self.options.max_source]

    def encode_target(self, line: str) -> list[int]:
        """Returns the target tokens of a line."""
        return self.target.tokens([line])[0]


def check_ensemble(first: LoadedModel, others: Sequence[LoadedModel]) -> None:
    """Checks that models can vote on each word: they have the same tokenizers and languages, and read text alike.

    Raises:
        ConfigError: they differ.
    """
    if any(other.tokenizers.fingerprints != first.tokenizers.fingerprints for other in others):
        raise ConfigError("the models of an ensemble must have the same tokenizers")
    for key in ("source", "target", "lowercase", "normalise", "tag_target"):
        values = {getattr(item.recipe.data, key): None for item in (first, *others)}
        if len(values) > 1:
            raise ConfigError(
                f"models of an ensemble must have the same data.{key}, not {' and '.join(map(str, values))}"
            )


def _to_text(
    translator: Translator, batch: SearchBatch, found: list[list[Hypothesis]], lines: list[str]
) -> list[list[Translation]]:
    """Converts hypotheses to text, with links where they are wanted, and counts what went wrong."""
    translator.report.unfound += sum(not hypotheses for hypotheses in found)
    translator.report.target_cut += sum(hypotheses[0].cut for hypotheses in found if hypotheses)
    for hypotheses, required in zip(found, batch.required, strict=True):
        translator.report.unmet += bool(hypotheses) and not required.met_by(hypotheses[0].tokens)
    translations = translator.wording.texts(found, batch.begins)
    if translator.options.needs_attention:
        for index, weights in enumerate(attention_of(translator.decoder.model, translator.device, batch.ids, found)):
            pieces, tag = translator.source.pieces(lines[index])
            for rank, item in enumerate(found[index]):
                seen = weights[rank, : len(item.tokens), tag : tag + len(pieces)]
                said = translations[index][rank]
                translations[index][rank] = translator.wording.linked(said, pieces, item, batch.begins[index], seen)
    return translations
