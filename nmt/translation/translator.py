"""Lines in, lines out: as many, in the same order, whatever they hold."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import torch

from nmt.config.reading import parse_search
from nmt.config.search import SearchConfig
from nmt.corpus.lines import clean_line, has_control, split_long
from nmt.corpus.tokenizer import BOS, EOS, UNK, language_tag
from nmt.corpus.words import lower
from nmt.decoding.batches import padded, search_batches
from nmt.decoding.beam_search import Engine, Hypothesis, configured_rules, score_targets
from nmt.decoding.compiled import fastest_search
from nmt.decoding.constrained import NOTHING, constrained_beam_search
from nmt.decoding.device.search import device_search, takes
from nmt.decoding.diverse import diverse_beam_search
from nmt.decoding.ensemble import Ensemble
from nmt.decoding.rules import Forbidden, Prefix
from nmt.decoding.sampling import sample
from nmt.decoding.shortlist import Shortlist, Shortlisted
from nmt.errors import ConfigError, DataError
from nmt.fast.inference import fastest_decoder, for_inference
from nmt.models import Model
from nmt.runtime.device import SearchPrecision, choose_device, choose_search_precision, fast_products, onednn_is_faster
from nmt.runtime.memory import check_search, collected_later
from nmt.runtime.stages import counted_batches
from nmt.scoring.metrics import check_tokenization, default_tokenization
from nmt.storage.checkpoint import LoadedModel, load_model
from nmt.translation.attended import attention_of, ranked_by_coverage
from nmt.translation.demands import Demands
from nmt.translation.result import (
    Batch,
    Options,
    Report,
    Start,
    TargetScore,
    Translation,
    by_agreement,
    joined,
    text_lines,
)
from nmt.translation.wording import Wording

_AUTOMATIC_BATCH = {"cpu": 4096, "cuda": 32_768}
_CHARACTERS = 32  # for each token of the limit; a line of no more is tokenised at once
_LEAST_WIDTH = 4  # of a beam when words are forbidden: the best hypotheses may all end in one of them
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
            loaded: from `nmt.storage.checkpoint.load_model`.
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
        self.device = device or torch.device("cpu")
        if any(other.tokenizers.fingerprints != loaded.tokenizers.fingerprints for other in others):
            raise ConfigError("the models of an ensemble must have the same tokenizers")
        self.parameter_count = sum(item.model.parameter_count for item in (loaded, *others))
        models = [for_inference(item.model, self.device, precision) for item in (loaded, *others)]
        self.model = Ensemble(models) if others else models[0]
        self.searched = fastest_decoder(self.model)
        self.tuned = True  # products may take the way that is fastest here
        self.device_search = device_search(self.model, self.device, batch_size)
        self.tokenizers = loaded.tokenizers
        self.recipe, self.card = loaded.recipe, loaded.card
        self.search = search or loaded.recipe.search
        check_search(self.search, self.tokenizers.target.vocabulary_size, self.device)
        self.options = options or Options()
        self.batch_size, self.engine = batch_size, engine
        self.report = Report()
        self._shortlisted = self._narrowed(loaded, precision)
        self._tags = tuple(map(language_tag, loaded.recipe.data.target_languages))
        self._tag = self._language_tag()
        self._bare = self.tokenizers.source.encode(self._tags) if self._tag else []  # tags of lines that say nothing
        self._language = self.options.target_language or self.recipe.data.target
        if self.options.mbr == "bleu":
            check_tokenization(default_tokenization(self._language))
        self._rules = configured_rules(self.search)
        self._demands = Demands(self.tokenizers.target, lambda line: self._cleaned([line])[0], self.options.word_starts)
        self._forbidden = self._demands.forbidden(self.options.forbidden, self.device, self.report)
        self._wording = Wording(self.tokenizers, self.options, self._forbidden)
        ruled = bool(self._rules or self._forbidden)
        if engine is not None and (others or ruled or self.options.sampling or self.search.groups > 1):
            raise ConfigError("another engine searches by beam and length penalty alone; leave the other options out")
        if self.options.constrained and (engine is not None or self.options.sampling or self.search.groups > 1):
            raise ConfigError(
                "phrases that must be said need a plain beam search, without sampling, groups or another engine"
            )

    def __repr__(self) -> str:
        data, models = self.recipe.data, len(self.model.models) if isinstance(self.model, Ensemble) else 1
        kind = self.recipe.model.kind if models == 1 else f"{models} models"
        size = f"{self.parameter_count:,} parameters"
        languages, beam = f"{data.source}-{data.target}", f"beam {self.search.beam}"
        return f"<Translator {self.recipe.name}: {languages}, {kind}, {size}, {beam}, {self.device}>"

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
        """One translation per line, in order; of one sentence, one. Blank lines stay blank.

        Args:
            lines: one sentence, or several.
            n_best: translations wanted of each, as a list, best first; just the best if left out.
            beam: hypotheses per sentence; that of the translator if left out.

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
        """The `count` best translations per line, best first; a blank line has one, the empty one.

        Args:
            lines: to be translated.
            count: translations wanted of each, at most the beam.
            prefixes: what each translation begins with; may be blank.
            first: number of the first line, for the draws of sampling.
            beam: hypotheses per sentence; that of the translator if left out.

        Raises:
            TextError: the lines are not text.
            DataError: more were asked for than the beam holds, or the prefixes are not as many as the lines.
        """
        if beam is not None:
            other = copy.copy(self)
            other.search = parse_search(self.search, {"beam": beam})
            return other.translate_n_best(lines, count, prefixes, first)
        lines, prefixes = text_lines(lines), None if prefixes is None else text_lines(prefixes)
        if count < 1:
            raise DataError(f"at least 1 translation of each line must be asked for, got {count}")
        if count > self.search.beam:
            raise DataError(f"{count} best translations need a beam of {count} at least, got {self.search.beam}")
        if prefixes is not None and len(prefixes) != len(lines):
            raise DataError(f"{len(lines)} lines but {len(prefixes)} prefixes")
        if prefixes is not None and (self.engine is not None or self._shortlisted):
            raise ConfigError("prefixes go with our own search over the whole vocabulary alone")
        required = [NOTHING] * len(lines)
        if self.options.constrained:
            lines, phrases = zip(*(line.partition("\t")[::2] for line in lines), strict=True) if lines else ((), ())
            required = [self._demands.required(text, self._forbidden, self.report) for text in phrases]
        ids, owners, texts = self._encode_source(lines)
        starts = [_NO_START] * len(lines) if prefixes is None else self._starts(prefixes)
        parts: list[list[Translation]] = [[] for _ in ids]
        filled = [index for index, tokens in enumerate(ids) if tokens]
        self.report.unmet += sum(required[owners[row]] is not NOTHING for row, tokens in enumerate(ids) if not tokens)
        lengths = [len(ids[index]) + 1 for index in filled]
        mbr = self.options.mbr
        for places in counted_batches(self._batches(lengths, prefixed=prefixes is not None), "translating"):
            rows = [filled[index] for index in places]
            fresh = [row == 0 or owners[row - 1] != owners[row] for row in rows]
            batch = Batch(
                [ids[row] for row in rows],
                [starts[owners[row]] if new else _NO_START for row, new in zip(rows, fresh, strict=True)],
                [first + owners[row] for row in rows],
                [required[owners[row]] if new else NOTHING for row, new in zip(rows, fresh, strict=True)],
            )
            wanted = self.search.beam if mbr else count
            hypotheses = self._allowed(batch, self.search_batch(batch, wanted), wanted)
            found = self._to_text(batch, hypotheses, [texts[row] for row in rows])
            for row, translations in zip(rows, found, strict=True):
                parts[row] = by_agreement(translations, mbr, self._language)[:count] if mbr else translations
        return joined(parts, owners, len(lines))

    def search_batch(self, batch: Batch, count: int, rule: Forbidden | None = None) -> list[list[Hypothesis]]:
        """The `count` hypotheses of each sentence of a batch, best first; among many, where a rule narrows the choice."""
        wanted = self.search.beam if self.search.coverage_penalty else count
        asked = [row for row, required in enumerate(batch.required) if required.encoded]
        if 0 < len(asked) < len(batch.ids):  # what stands beside a line in its batch changes nothing
            free = [row for row in range(len(batch.ids)) if row not in asked]
            parts = [zip(rows, self.search_batch(batch.only(rows), count, rule), strict=True) for rows in (asked, free)]
            return [hypotheses for _, hypotheses in sorted(itertools.chain(*parts), key=lambda pair: pair[0])]
        config, rules = self.search, [*self._rules, *([rule] if rule else [])]
        if rule and not self.options.sampling:
            config = config.model_copy(update={"beam": config.groups * max(config.beam // config.groups, _LEAST_WIDTH)})
        begins = [begin.tokens for begin in batch.begins]
        engine = self.engine or (None if rule or any(begins) or asked else self._on_device)
        if engine is not None:
            return self._finally(batch, engine.search(batch.ids, config, wanted), count)
        source, lengths = padded(batch.ids, before=-1, after=EOS)
        source = source.to(self.device)
        if any(begins):
            rules = [Prefix(begins, rules)]
        if self.options.sampling is not None:
            numbers = batch.numbers or range(len(batch.ids))
            found = sample(self.searched, source, lengths, config, self.options.sampling, numbers, rules)
        elif asked:
            found = constrained_beam_search(self.searched, source, lengths, config, batch.required, wanted, rules)
        else:
            search = diverse_beam_search if config.groups > 1 else fastest_search(self.device)
            many = self.tuned and self.device.type == "cpu" and len(batch.ids) >= 8  # for few, setting up costs more
            with fast_products(many and onednn_is_faster()):
                found = search(self.searched, source, lengths, config, wanted, rules)
        return self._finally(batch, found, count)

    def _finally(self, batch: Batch, found: list[list[Hypothesis]], count: int) -> list[list[Hypothesis]]:
        """The `count` best of what was found, by all that decides on it."""
        if self._shortlisted:
            found = self._shortlisted.finished(found)
        if self.search.coverage_penalty:
            seen = attention_of(self.model, self.device, batch.ids, found)
            found = ranked_by_coverage(found, seen, batch.ids, self.search.coverage_penalty)
        return [hypotheses[:count] for hypotheses in found]

    def _allowed(self, batch: Batch, found: list[list[Hypothesis]], count: int) -> list[list[Hypothesis]]:
        """What was found, but where that says what is forbidden, what a search by the rule finds.

        So the rule changes no other translation. If it leaves nothing to say, and in sampling, which cannot look ahead, no
        word may even begin with a forbidden one.
        """
        sampled = self.options.sampling is not None
        for strict in (True,) if sampled else (False, True):
            if self._forbidden is None:
                break
            begins = [begin.tokens for begin in batch.begins] or [[]] * len(found)
            broken = [
                [self._forbidden.broken_by(item.tokens, len(begin)) for item in items]
                for items, begin in zip(found, begins, strict=True)
            ]
            rows = [row for row, items in enumerate(broken) if any(items) or not items]
            if rows:
                rule = dataclasses.replace(self._forbidden, strict=strict, begins=[begins[row] for row in rows])
                for row, again in zip(rows, self.search_batch(batch.only(rows), count, rule), strict=True):
                    draws = [new if bad else old for new, bad, old in zip(again, broken[row], found[row], strict=False)]
                    found[row] = draws if sampled else again
        return found

    def score_targets(self, sources: Iterable[str], targets: Iterable[str]) -> list[TargetScore]:
        """Log-probability of each target given its source, by forced decoding; sources that are cut are counted."""
        sources, targets = text_lines(sources), text_lines(targets)
        if len(sources) != len(targets):
            raise DataError(f"{len(sources)} sources but {len(targets)} targets")
        self.report.lines += len(sources)
        self.report.mended += sum(map(has_control, sources))
        source_ids = [self._cut(tokens) for tokens in self._tokens(sources)]
        target_ids = self.tokenizers.target.encode(self._cleaned(targets))
        scores: list[TargetScore] = [TargetScore(0.0, 0)] * len(sources)
        lengths = [max(len(source), len(target)) + 1 for source, target in zip(source_ids, target_ids, strict=True)]
        for batch in counted_batches(search_batches(lengths, self._batch_tokens, 1, self.batch_size), "scoring"):
            sums = self._force([source_ids[row] for row in batch], [target_ids[row] for row in batch])
            for row, value in zip(batch, sums, strict=True):
                scores[row] = TargetScore(value, len(target_ids[row]) + 1)
        return scores

    def encode(self, line: str) -> list[int]:
        """Source tokens of a line, as many as the limit allows."""
        return self._tokens([line])[0][: self.options.max_source]

    def is_cut(self, line: str) -> bool:
        """Whether a line is longer than the limit, so that only its beginning is read."""
        return len(self._tokens([line])[0]) > self.options.max_source

    def encode_target(self, line: str) -> list[int]:
        """Target tokens of a line."""
        return self.tokenizers.target.encode(self._cleaned([line]))[0]

    def source_pieces(self, line: str) -> tuple[list[str], int]:
        """Source tokens of a line as they stand in it, and how many tokens come before them: a tag that it does not have."""
        text = self._as_source(line)
        added = text.startswith(self._tag) and not clean_line(line).startswith(self._tags)
        tag = len(self.tokenizers.source.encode([self._tag])[0]) if added else 0
        return self.tokenizers.source.encode_pieces([self._enough(text)])[0][tag : self.options.max_source], tag

    def target_pieces(self, line: str) -> list[str]:
        """Target tokens of a line as they stand in it."""
        return self.tokenizers.target.encode_pieces(self._cleaned([line]))[0]

    def attention_maps(self, source: list[int], target: list[int]) -> torch.Tensor:
        """(L, H, T + 1, S + 1) attention of each layer and head while each of the target tokens, and the end, is predicted.

        Raises:
            ConfigError: there is none to show.
        """
        ids, lengths = padded([source], before=-1, after=EOS)
        inputs = padded([target], before=BOS, after=-1)[0]
        with torch.inference_mode():
            maps = self._single.attention_maps(ids.to(self.device), lengths, inputs.to(self.device))
        return maps[0].float().cpu()

    def aligning_layer(self, shifted: bool) -> int | None:
        """See `EncoderDecoder.aligning_layer`."""
        return self._single.aligning_layer(shifted)

    @property
    def _on_device(self) -> Engine | None:
        """The search that never leaves the device, where that is all that is asked for."""
        search = self.device_search
        if search is None or self.searched is not self.model or self.options.sampling or not takes(self.search):
            return None
        return search

    def _batches(self, lengths: list[int], prefixed: bool) -> list[list[int]]:
        """Sentences that are searched together; a device takes all of them, and makes its own batches."""
        if self._on_device and lengths and not (prefixed or self.options.constrained or self._forbidden):
            return [list(range(len(lengths)))]
        return search_batches(lengths, self._batch_tokens, self.search.beam, self.batch_size)

    @property
    def _batch_tokens(self) -> int:
        """Source tokens times beam of a batch; a GPU takes as long for few as for many."""
        tokens = self.search.batch_tokens
        return _AUTOMATIC_BATCH[self.device.type] if tokens == "auto" else tokens

    @property
    def _single(self) -> Model:
        """The model that is looked into."""
        if isinstance(self.model, Ensemble):
            raise ConfigError("attention is shown of one model, not of an ensemble")
        return self.model

    def _narrowed(self, loaded: LoadedModel, precision: SearchPrecision) -> Shortlisted | None:
        """The model among the tokens of a shortlist, if one is asked for."""
        options = self.options
        if options.shortlist is None:
            return None
        if isinstance(self.model, Ensemble) or self.engine is not None or options.forbidden or options.constrained:
            raise ConfigError(
                "--shortlist goes with one model and plain search or sampling, without phrases or prefixes"
            )
        tokenizers = loaded.tokenizers
        shortlist = Shortlist.load(options.shortlist, tokenizers.fingerprints, tokenizers.sizes)
        self.searched = narrowed = Shortlisted(self.model, loaded.model.output, shortlist, precision)
        return narrowed

    def _starts(self, prefixes: Sequence[str]) -> list[Start]:
        """What translations begin with; characters that the model does not know stand in their text as they are written."""
        lines = self._cleaned(prefixes)
        pairs = zip(
            *(encode(lines) for encode in (self.tokenizers.target.encode, self.tokenizers.target.encode_pieces)),
            strict=True,
        )
        starts = [Start(tokens, pieces if UNK in tokens else []) for tokens, pieces in pairs]
        self.report.unknown_prefixes += sum(bool(start.pieces) for start in starts)
        return starts

    def _tokens(self, lines: Sequence[str]) -> list[list[int]]:
        """Token ids of sources; where the model translates into several languages, behind the tag of the one wanted.

        They are all tokens of a line up to the limit, and at least one more where the line goes on.
        """
        found = self.tokenizers.source.encode([self._enough(self._as_source(line)) for line in lines])
        return [[] if tokens in self._bare else tokens for tokens in found]

    def _enough(self, text: str) -> str:
        """The beginning of a giant line, up to a space, that holds more tokens than the limit; another line as it is."""
        width = _CHARACTERS * self.options.max_source
        while width < len(text) and (end := text.find(" ", width)) >= 0:
            if len(self.tokenizers.source.encode([text[:end]])[0]) > self.options.max_source:
                return text[:end]
            width = 4 * end
        return text

    def _as_source(self, line: str) -> str:
        """A source as the model knows it: cleaned, and behind the tag of the language wanted if it has none itself."""
        text = clean_line(line)
        tag = self._own_tag(text)
        text = self._in_case(text[len(tag) :], self.recipe.data.source)
        return f"{self._tag} {text}" if self._tag and text and not tag else tag + text

    def _own_tag(self, text: str) -> str:
        return next((tag for tag in self._tags if text.startswith(tag)), "") if self._tag else ""

    def _language_tag(self) -> str:
        """What sources begin with if they do not say so themselves; empty for a model of one language."""
        data, wanted = self.recipe.data, self.options.target_language
        languages = data.target_languages
        if wanted is not None and wanted not in languages:
            raise ConfigError(f"this model translates into {', '.join(languages)}, not into {wanted}")
        return language_tag(wanted or data.target) if data.tag_target else ""

    def _encode_source(self, lines: Sequence[str]) -> tuple[list[list[int]], list[int], list[str]]:
        """Token ids of the lines, or of the parts of lines that are split, the line of each and its text."""
        self.report.lines += len(lines)
        self.report.mended += sum(map(has_control, lines))
        found = self._tokens(lines)
        self.report.blank += sum(not tokens for tokens in found)
        if all(len(tokens) <= self.options.max_source for tokens in found):
            return found, list(range(len(lines))), list(lines)
        ids: list[list[int]] = []
        owners: list[int] = []
        texts: list[str] = []
        for index, (line, tokens) in enumerate(zip(lines, found, strict=True)):
            too_long = len(tokens) > self.options.max_source
            parts, pieces = [tokens], [line]
            if too_long and self.options.long_lines == "split":
                self.report.source_split += 1
                pieces = self._split(clean_line(line))
                parts = self._tokens(pieces)
            ids += [self._cut(part) for part in parts]
            owners += [index] * len(parts)
            texts += pieces
        return ids, owners, texts

    def _split(self, text: str) -> list[str]:
        """The parts of a line that fit the limit, each behind the tag of the line if that has one."""
        tag = self._own_tag(text)
        before = f"{tag} " if tag else ""
        parts = split_long(text[len(tag) :].strip(), lambda part: not self.is_cut(before + part))
        return [before + part for part in parts]

    def _cut(self, tokens: list[int]) -> list[int]:
        self.report.source_cut += len(tokens) > self.options.max_source
        return tokens[: self.options.max_source]

    def _cleaned(self, lines: Sequence[str]) -> list[str]:
        """Target lines as the model knows text: without control characters, and lower-cased if it was trained so."""
        language = self.options.target_language or self.recipe.data.target
        return [self._in_case(clean_line(line), language) for line in lines]

    def _in_case(self, text: str, language: str) -> str:
        return lower(text, language) if self.recipe.data.lowercase else text

    def _force(self, source_ids: list[list[int]], target_ids: list[list[int]]) -> list[float]:
        source, lengths = padded(source_ids, before=-1, after=EOS)
        inputs, outputs = padded(target_ids, before=BOS, after=-1)[0], padded(target_ids, before=-1, after=EOS)[0]
        values = score_targets(
            self.model, source.to(self.device), lengths, inputs.to(self.device), outputs.to(self.device)
        )
        return values.double().sum(1).tolist()

    def _to_text(self, batch: Batch, found: list[list[Hypothesis]], lines: list[str]) -> list[list[Translation]]:
        self.report.target_cut += sum(hypotheses[0].cut for hypotheses in found if hypotheses)
        for hypotheses, required in zip(found, batch.required, strict=True):
            self.report.unmet += bool(hypotheses) and not required.met_by(hypotheses[0].tokens)
        translations = self._wording.texts(found, batch.begins)
        if self.options.needs_attention:
            for index, weights in enumerate(attention_of(self.model, self.device, batch.ids, found)):
                pieces, tag = self.source_pieces(lines[index])
                for rank, item in enumerate(found[index]):
                    seen = weights[rank, : len(item.tokens), tag : tag + len(pieces)]
                    said = translations[index][rank]
                    translations[index][rank] = self._wording.linked(said, pieces, item, batch.begins[index], seen)
        return translations


def load(path: str | Path, device: str = "auto", **search: object) -> Translator:
    """Loads a bundle, run folder or checkpoint: `nmt.load("runs/x", beam=1).translate("Guten Tag.")`.

    Raises:
        CheckpointError: nothing usable is there.
        ConfigError: a search setting is unknown or wrong.
    """
    loaded = load_model(Path(path))
    place = choose_device(device)
    return Translator(loaded, place, parse_search(loaded.recipe.search, search), choose_search_precision("auto", place))
