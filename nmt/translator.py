"""Lines in, lines out: as many, in the same order, whatever they hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from nmt.alignment import align_words, coverage, word_numbers
from nmt.batching import search_batches
from nmt.checkpoint import LoadedModel, load_model
from nmt.config import SearchConfig
from nmt.constrained import Phrases, constrained_beam_search
from nmt.dataset import Ragged
from nmt.device import SearchPrecision, choose_device, choose_search_precision, fast_products, onednn_is_faster
from nmt.diverse import diverse_beam_search
from nmt.ensemble import Ensemble
from nmt.errors import ConfigError, DataError
from nmt.mbr import expected_utilities
from nmt.models import Model
from nmt.models.inference import ready_for_search
from nmt.models.rows import searchable
from nmt.rules import Forbidden, Prefix, Rule
from nmt.sampling import sample
from nmt.search import Hypothesis, beam_search, configured_rules, score_targets
from nmt.shortlist import Shortlist, Shortlisted
from nmt.text import clean_line, has_control, split_long
from nmt.tokenizer import BOS, EOS, PAD, UNK, WORD_MARK, language_tag
from nmt.translation import Options, Report, TargetScore, Translation
from nmt.words import lower

_AUTOMATIC_BATCH = {"cpu": 4096, "cuda": 32_768}
_CHARACTERS = 32  # for each token of the limit; a line of no more is tokenised at once


class Engine(Protocol):
    """Another engine that can search."""

    def search(self, ids: list[list[int]], config: SearchConfig, best: int) -> list[list[Hypothesis]]:
        """The `best` hypotheses of each sentence of one batch."""
        ...


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
            loaded: from `nmt.checkpoint.load_model`.
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
        models = [ready_for_search(item.model, self.device, precision) for item in (loaded, *others)]
        self.model = Ensemble(models) if others else models[0]
        self.searched = searchable(self.model)
        self.tuned = True  # products may take the way that is fastest here
        self.tokenizers = loaded.tokenizers
        self.recipe, self.card = loaded.recipe, loaded.card
        self.search = search or loaded.recipe.search
        self.options = options or Options()
        self.batch_size, self.engine = batch_size, engine
        self.report = Report()
        self._shortlisted = self._narrowed(loaded, precision)
        self._tags = tuple(map(language_tag, loaded.recipe.data.target_languages))
        self._tag = self._language_tag()
        self._bare = self.tokenizers.source.encode(self._tags) if self._tag else []  # tags of lines that say nothing
        self._rules = self._fixed_rules()
        if engine is not None and (others or self._rules or self.options.sampling or self.search.groups > 1):
            raise ConfigError("another engine searches by beam and length penalty alone; leave the other options out")
        if self.options.constrained and (engine is not None or self.options.sampling or self.search.groups > 1):
            raise ConfigError(
                "phrases that must be said need a plain beam search, without sampling, groups or another engine"
            )

    def translate(self, lines: Sequence[str]) -> list[str]:
        """One translation per line, in order; blank lines stay blank."""
        return [best[0].text for best in self.translate_n_best(lines, 1)]

    def translate_n_best(
        self, lines: Sequence[str], count: int, prefixes: Sequence[str] | None = None, first: int = 0
    ) -> list[list[Translation]]:
        """The `count` best translations per line, best first; a blank line has one, the empty one.

        Args:
            lines: to be translated.
            count: translations wanted of each, at most the beam.
            prefixes: what each translation begins with; may be blank.
            first: number of the first line, for the draws of sampling.

        Raises:
            DataError: more were asked for than the beam holds, or the prefixes are not as many as the lines.
        """
        if count > self.search.beam:
            raise DataError(f"{count} best translations need a beam of {count} at least, got {self.search.beam}")
        if prefixes is not None and len(prefixes) != len(lines):
            raise DataError(f"{len(lines)} lines but {len(prefixes)} prefixes")
        if prefixes is not None and (self.engine is not None or self._shortlisted):
            raise ConfigError("prefixes go with our own search over the whole vocabulary alone")
        phrases: list[list[list[int]]] = [[] for _ in lines]
        if self.options.constrained:
            lines, required = zip(*(line.partition("\t")[::2] for line in lines), strict=True) if lines else ((), ())
            phrases = [self._required(text) for text in required]
        ids, owners, texts = self._encode_source(lines)
        starts = [[]] * len(lines) if prefixes is None else self.tokenizers.target.encode(self._cleaned(prefixes))
        parts: list[list[Translation]] = [[] for _ in ids]
        filled = [index for index, tokens in enumerate(ids) if tokens]
        lengths = [len(ids[index]) + 1 for index in filled]
        for batch in search_batches(lengths, self._batch_tokens, self.search.beam, self.batch_size):
            rows = [filled[index] for index in batch]
            fresh = [row == 0 or owners[row - 1] != owners[row] for row in rows]
            begins = [starts[owners[row]] if new else [] for row, new in zip(rows, fresh, strict=True)]
            wished = [phrases[owners[row]] if new else [] for row, new in zip(rows, fresh, strict=True)]
            sources = [ids[row] for row in rows]
            wanted = self.search.beam if self.options.mbr else count
            hypotheses = self.search_batch(sources, wanted, begins, [first + owners[row] for row in rows], wished)
            found = self._to_text(sources, hypotheses, [texts[row] for row in rows])
            for row, translations in zip(rows, found, strict=True):
                parts[row] = self._by_agreement(translations)[:count] if self.options.mbr else translations
        return _joined(parts, owners, len(lines))

    def search_batch(
        self,
        ids: list[list[int]],
        count: int,
        begins: Sequence[list[int]] = (),
        numbers: Sequence[int] = (),
        phrases: Sequence[Phrases] = (),
    ) -> list[list[Hypothesis]]:
        """Hypotheses of one batch of sentences given as token ids.

        Args:
            ids: source tokens of each sentence, at least one.
            count: hypotheses wanted of each.
            begins: what each translation begins with; nothing if left out.
            numbers: of the sentences, for the draws of sampling.
            phrases: token ids that each translation must contain.
        """
        wanted = self.search.beam if self.search.coverage_penalty else count
        source, lengths = _pad(ids, before=-1, after=EOS)
        source = source.to(self.device)
        rules = [Prefix(begins, self._rules)] if any(begins) else self._rules
        if self.engine is not None:
            found = self.engine.search(ids, self.search, wanted)
        elif self.options.sampling is not None:
            numbers = numbers or range(len(ids))
            found = sample(self.searched, source, lengths, self.search, self.options.sampling, numbers, rules)
        elif any(phrases):
            found = constrained_beam_search(self.searched, source, lengths, self.search, phrases, wanted, rules)
        else:
            search = diverse_beam_search if self.search.groups > 1 else beam_search
            # For a few sentences at a time what it costs to set such a product up outweighs its speed.
            many = self.tuned and self.device.type == "cpu" and len(ids) >= 8
            with fast_products(many and onednn_is_faster()):
                found = search(self.searched, source, lengths, self.search, wanted, rules)
        if self._shortlisted:
            found = self._shortlisted.finished(found)
        if self.search.coverage_penalty:
            found = self._ranked_by_coverage(ids, found)
        return [hypotheses[:count] for hypotheses in found]

    def score_targets(self, sources: Sequence[str], targets: Sequence[str]) -> list[TargetScore]:
        """Log-probability of each target given its source, by forced decoding; sources that are cut are counted."""
        self.report.lines += len(sources)
        self.report.mended += sum(map(has_control, sources))
        source_ids = [self._cut(tokens) for tokens in self._tokens(sources)]
        target_ids = self.tokenizers.target.encode(self._cleaned(targets))
        scores: list[TargetScore] = [TargetScore(0.0, 0)] * len(sources)
        lengths = [max(len(source), len(target)) + 1 for source, target in zip(source_ids, target_ids, strict=True)]
        for batch in search_batches(lengths, self._batch_tokens, 1, self.batch_size):
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
        ids, lengths = _pad([source], before=-1, after=EOS)
        inputs = _pad([target], before=BOS, after=-1)[0]
        with torch.inference_mode():
            maps = self._single.attention_maps(ids.to(self.device), lengths, inputs.to(self.device))
        return maps[0].float().cpu()

    def aligning_layer(self, shifted: bool) -> int | None:
        """See `EncoderDecoder.aligning_layer`."""
        return self._single.aligning_layer(shifted)

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

    def _fixed_rules(self) -> list[Rule]:
        """The rules that hold for every line."""
        rules = configured_rules(self.search)
        if self.options.forbidden:
            encoded = self.tokenizers.target.encode(self._cleaned(self.options.forbidden))
            rules.append(Forbidden([tokens for tokens in encoded if tokens]))
        return rules

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

    def _required(self, text: str) -> list[list[int]]:
        """Token ids of phrases between tabs."""
        return [tokens for tokens in self.tokenizers.target.encode(self._cleaned(text.split("\t"))) if tokens]

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
        ids: list[list[int]] = []
        owners: list[int] = []
        texts: list[str] = []
        for index, (line, tokens) in enumerate(zip(lines, self._tokens(lines), strict=True)):
            self.report.blank += not tokens
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

    def _ranked_by_coverage(self, ids: list[list[int]], found: list[list[Hypothesis]]) -> list[list[Hypothesis]]:
        """Adds the coverage penalty to the scores."""
        for index, (weights, hypotheses) in enumerate(zip(self._attention(ids, found), found, strict=True)):
            lengths = torch.full((len(hypotheses),), len(ids[index]) + 1)
            values = (self.search.coverage_penalty * coverage(weights, lengths)).tolist()
            scored = [
                dataclasses.replace(item, score=item.score + value)
                for item, value in zip(hypotheses, values, strict=True)
            ]
            found[index] = sorted(scored, key=lambda item: -item.score)
        return found

    def _attention(self, ids: list[list[int]], found: list[list[Hypothesis]]) -> Iterator[torch.Tensor]:
        """Attention (N, T, S) of the N hypotheses of each sentence, zero at padding."""
        for tokens, hypotheses in zip(ids, found, strict=True):
            source, lengths = _pad([tokens] * len(hypotheses), before=-1, after=EOS)
            target, sizes = _pad([item.tokens for item in hypotheses], before=BOS, after=-1)
            with torch.inference_mode():
                weights = self.model.attention(source.to(self.device), lengths, target.to(self.device))
            real = torch.arange(target.shape[1]) < sizes[:, None]
            yield weights.float().cpu() * real[:, :, None]

    def _force(self, source_ids: list[list[int]], target_ids: list[list[int]]) -> list[float]:
        source, lengths = _pad(source_ids, before=-1, after=EOS)
        inputs, outputs = _pad(target_ids, before=BOS, after=-1)[0], _pad(target_ids, before=-1, after=EOS)[0]
        values = score_targets(
            self.model, source.to(self.device), lengths, inputs.to(self.device), outputs.to(self.device)
        )
        return values.double().sum(1).tolist()

    def _to_text(
        self, ids: list[list[int]], found: list[list[Hypothesis]], lines: list[str]
    ) -> list[list[Translation]]:
        self.report.target_cut += sum(hypotheses[0].cut for hypotheses in found if hypotheses)
        flat = [hypothesis for hypotheses in found for hypothesis in hypotheses]
        texts = iter(self.tokenizers.target.decode([hypothesis.tokens for hypothesis in flat]))
        translations = [
            [
                Translation(clean_line(next(texts)), item.log_probability, item.score, len(item.tokens) + 1)
                for item in hypotheses
            ]
            for hypotheses in found
        ]
        if self.options.needs_attention:
            for index, weights in enumerate(self._attention(ids, found)):
                pieces, tag = self.source_pieces(lines[index])
                for rank, item in enumerate(found[index]):
                    seen = weights[rank, : len(item.tokens), tag : tag + len(pieces)]
                    translations[index][rank] = self._linked(translations[index][rank], pieces, item, seen)
        return translations

    def _by_agreement(self, drawn: list[Translation]) -> list[Translation]:
        """Draws without repetition, the one that agrees most with all first; its score is the expected utility."""
        utilities = expected_utilities([item.text for item in drawn], self.options.mbr or "chrf")
        ranked = sorted(zip(drawn, utilities, strict=True), key=lambda pair: (-pair[1], -pair[0].log_probability))
        best = {item.text: dataclasses.replace(item, score=value) for item, value in reversed(ranked)}
        return list(best.values())[::-1]

    def _linked(
        self, translation: Translation, pieces: list[str], item: Hypothesis, weights: torch.Tensor
    ) -> Translation:
        """With links between words, or unknown words replaced, from the attention (T, S) of one hypothesis to the source."""
        written, words = self.tokenizers.target.id_to_pieces(item.tokens), word_numbers(pieces)
        unknown = [token == UNK for token in item.tokens]
        text = translation.text
        if self.options.replace_unknown and any(unknown) and pieces:
            seen = [words[place] for place in weights.argmax(1).tolist()]
            copied = self.tokenizers.source.decode_pieces(
                [[piece for piece, word in zip(pieces, words, strict=True) if word == chosen] for chosen in seen]
            )
            said = [
                f"{WORD_MARK}{word}{WORD_MARK}" if new else piece
                for new, piece, word in zip(unknown, written, copied, strict=True)
            ]
            (text,) = self.tokenizers.target.decode_pieces([said])
            text = clean_line(" ".join(text.split()))
        links = None
        if self.options.align:
            links = align_words(weights, words, word_numbers(written, unknown)) if text else []
        return dataclasses.replace(translation, text=text, alignment=links)


def load(path: str | Path, device: str = "auto", **search: object) -> Translator:
    """Loads a bundle, run folder or checkpoint: `nmt.load("runs/x", beam=1).translate(["Guten Tag."])`.

    Raises:
        CheckpointError: nothing usable is there.
    """
    loaded = load_model(Path(path))
    place = choose_device(device)
    settings = SearchConfig.model_validate({**loaded.recipe.search.model_dump(), **search})
    return Translator(loaded, place, settings, choose_search_precision("auto", place))


def _joined(parts: list[list[Translation]], owners: list[int], lines: int) -> list[list[Translation]]:
    """The translations of each line from those of its parts, rank by rank; a line without any has an empty one."""
    results: list[list[Translation]] = [[] for _ in range(lines)]
    for part, owner in zip(parts, owners, strict=True):
        before = results[owner]
        results[owner] = (
            [_sum(one, two) for one, two in zip(before, part, strict=False)] if before and part else before or part
        )
    return [found or [Translation("", 0.0, 0.0, 0)] for found in results]


def _sum(one: Translation, two: Translation) -> Translation:
    """Two translations in a row; links between words are not kept across the seam."""
    text = f"{one.text} {two.text}".strip()
    total = one.log_probability + two.log_probability
    return Translation(text, total, one.score + two.score, one.tokens + two.tokens)


def _pad(ids: list[list[int]], before: int, after: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, S) between the special tokens that are not negative, and their lengths (B,)."""
    counts = [len(tokens) for tokens in ids]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    ragged = Ragged(np.array([token for tokens in ids for token in tokens], dtype=np.uint32), offsets)
    extra = int(before >= 0) + int(after >= 0)
    matrix = ragged.padded(np.arange(len(ids)), max(counts) + extra, before, after, PAD)
    return torch.from_numpy(matrix), torch.from_numpy(ragged.lengths + extra)
