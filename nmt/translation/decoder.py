"""Runs the search that was asked for on batches of tokens, by the fastest implementation of the machine."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import BOS, EOS
from nmt.decoding.batches import padded, search_batches
from nmt.decoding.beam_search import Engine, Hypothesis, configured_rules, score_targets
from nmt.decoding.compiled import fastest_search
from nmt.decoding.constrained import constrained_beam_search
from nmt.decoding.device.search import can_search, device_search
from nmt.decoding.diverse import diverse_beam_search
from nmt.decoding.ensemble import Ensemble
from nmt.decoding.rules import Forbidden, Prefix
from nmt.decoding.sampling import sample
from nmt.decoding.shortlist import Shortlist, Shortlisted
from nmt.errors import ConfigError
from nmt.fast.inference import fastest_decoder, for_inference
from nmt.models import Model, Visual
from nmt.models.visual.model import SlicesSeen
from nmt.runtime.device import SearchPrecision, onednn_is_faster, onednn_products
from nmt.storage.bundle import LoadedModel
from nmt.translation.hypothesis_attention import attention_of, ranked_by_coverage
from nmt.translation.result import Options, SearchBatch

_AUTOMATIC_BATCH = {"cpu": 4096, "cuda": 32_768}
_LEAST_WIDTH = 4  # least beam when words are forbidden, as the best hypotheses may all end in a forbidden word
_FEW = 8  # with fewer sentences, setting up the faster products takes longer than they save


class Decoder:
    """One model or an ensemble, ready to search on a device."""

    def __init__(
        self,
        loaded: Sequence[LoadedModel],
        device: torch.device,
        search: SearchConfig,
        precision: SearchPrecision,
        batch_size: int | None,
        options: Options,
        engine: Engine | None = None,
    ) -> None:
        """See `Translator`."""
        models = [for_inference(item.model, device, precision) for item in loaded]
        self.model = Ensemble(models) if len(models) > 1 else models[0]
        self.stepped = fastest_decoder(self.model)
        self.device, self.batch_size, self.options, self.engine = device, batch_size, options, engine
        self.device_search = device_search(self.model, device, batch_size)
        self._set(search)
        self.shortlisted = self._narrowed(loaded[0], precision)

    def _set(self, search: SearchConfig) -> None:
        self.search, self._rules = search, configured_rules(search)
        self._check_together()

    def with_search(self, search: SearchConfig) -> Decoder:
        """Returns the same model with other search settings.

        Raises:
            ConfigError: the options or the engine do not go with them.
        """
        other = copy.copy(self)
        other._set(search)
        return other

    def batches(self, lengths: list[int], plain: bool) -> list[list[int]]:
        """Groups sentences of these lengths into batches; a device search takes plain sentences as one batch."""
        if plain and lengths and self._on_device:
            return [list(range(len(lengths)))]
        return search_batches(lengths, self._batch_tokens, self.search.beam, self.batch_size)

    def search_batch(self, batch: SearchBatch, count: int, rule: Forbidden | None = None) -> list[list[Hypothesis]]:
        """Returns the `count` best hypotheses of each sentence of a batch; a rule widens the beam."""
        wanted = self.search.beam if self.search.coverage_penalty else count
        asked = [row for row, required in enumerate(batch.required) if required.encoded]
        if 0 < len(asked) < len(batch.ids):  # neighbours in a batch must change nothing
            free = [row for row in range(len(batch.ids)) if row not in asked]
            parts = [
                zip(rows, self.search_batch(batch.only(rows), count, rule and rule.only(rows)), strict=True)
                for rows in (asked, free)
            ]
            return [hypotheses for _, hypotheses in sorted(itertools.chain(*parts), key=lambda pair: pair[0])]
        config, rules = self.search, [*self._rules, *([rule] if rule else [])]
        if rule and not self.options.sampling:
            config = config.model_copy(update={"beam": config.groups * max(config.beam // config.groups, _LEAST_WIDTH)})
        begins = [begin.tokens for begin in batch.begins]
        engine = self.engine or (None if rule or any(begins) or asked else self._on_device)
        if engine is not None:
            return self._finally(batch, engine.search(batch.ids, config, wanted), count)
        with self.shortlisted or nullcontext():
            source, lengths = padded(batch.ids, before=-1, after=EOS)
            source = source.to(self.device)
            if any(begins):
                rules = [Prefix(begins, rules)]
            if self.options.sampling is not None:
                numbers = batch.numbers or range(len(batch.ids))
                found = sample(self.stepped, source, lengths, config, self.options.sampling, numbers, rules)
            elif asked:
                found = constrained_beam_search(self.stepped, source, lengths, config, batch.required, wanted, rules)
            else:
                search = diverse_beam_search if config.groups > 1 else fastest_search(self.device)
                with onednn_products(self.device.type == "cpu" and len(batch.ids) >= _FEW and onednn_is_faster()):
                    found = search(self.stepped, source, lengths, config, wanted, rules)
        return self._finally(batch, found, count)

    def allowed(
        self, batch: SearchBatch, found: list[list[Hypothesis]], count: int, forbidden: Forbidden
    ) -> list[list[Hypothesis]]:
        """Replaces the translations that contain a forbidden phrase by a new search under the rule.

        So the rule changes no other translation. If nothing is left, no word may even begin with a forbidden phrase. That holds
        in sampling from the start, as it cannot look ahead.
        """
        sampled = self.options.sampling is not None
        for strict in (True,) if sampled else (False, True):
            begins = [begin.tokens for begin in batch.begins] or [[]] * len(found)
            broken = [
                [forbidden.broken_by(item.tokens, len(begin)) for item in items]
                for items, begin in zip(found, begins, strict=True)
            ]
            rows = [row for row, items in enumerate(broken) if any(items) or not items]
            if rows:
                rule = dataclasses.replace(forbidden, strict=strict, begins=[begins[row] for row in rows])
                for row, again in zip(rows, self.search_batch(batch.only(rows), count, rule), strict=True):
                    draws = [new if bad else old for new, bad, old in zip(again, broken[row], found[row], strict=False)]
                    found[row] = draws if sampled else again
        return found

    def forced_batches(self, lengths: list[int]) -> list[list[int]]:
        """Groups pairs of these lengths into batches for scoring."""
        return search_batches(lengths, self._batch_tokens, 1, self.batch_size)

    def forced(self, source_ids: list[list[int]], target_ids: list[list[int]]) -> list[float]:
        """Returns the log-probability of each target given its source, by forced decoding."""
        source, lengths = padded(source_ids, before=-1, after=EOS)
        inputs, outputs = padded(target_ids, before=BOS, after=-1)[0], padded(target_ids, before=-1, after=EOS)[0]
        values = score_targets(
            self.model, source.to(self.device), lengths, inputs.to(self.device), outputs.to(self.device)
        )
        return values.double().sum(1).tolist()

    @property
    def single(self) -> Model:
        """The only model.

        Raises:
            ConfigError: this is an ensemble.
        """
        if isinstance(self.model, Ensemble):
            raise ConfigError("attention is shown of one model, not of an ensemble")
        return self.model

    def attention_maps(self, source: list[int], target: list[int]) -> torch.Tensor:
        """Returns the attention (L, H, T + 1, S + 1) of each layer and head for each target token and the end.

        Raises:
            ConfigError: the model has no attention, or this is an ensemble.
        """
        ids, lengths = padded([source], before=-1, after=EOS)
        inputs = padded([target], before=BOS, after=-1)[0]
        with torch.inference_mode():
            maps = self.single.attention_maps(ids.to(self.device), lengths, inputs.to(self.device))
        return maps[0].float().cpu()

    def slices_seen(self, source: list[int], target: list[int]) -> SlicesSeen | None:
        """Returns where a model that reads pictures looks, for each target token and the end; None: it reads tokens."""
        if not isinstance(self.single, Visual):
            return None
        ids, lengths = padded([source], before=-1, after=EOS)
        inputs = padded([target], before=BOS, after=-1)[0]
        with torch.inference_mode():
            return self.single.seen(ids.to(self.device), lengths, inputs.to(self.device))

    @property
    def is_beam_search(self) -> bool:
        """Whether translations are searched by beam search: not drawn, and without groups."""
        return self.options.sampling is None and self.search.groups == 1

    def _check_together(self) -> None:
        """Refuses models, settings, options and an engine that do not go together."""
        options, several = self.options, isinstance(self.model, Ensemble)
        if options.shortlist is not None and (several or self.engine or options.forbidden or options.constrained):
            raise ConfigError(
                "a shortlist goes with one model and plain search or sampling, without phrases or prefixes"
            )
        if self.engine and (several or self._rules or options.forbidden or not self.is_beam_search):
            raise ConfigError("another engine searches by beam and length penalty alone; leave the other options out")
        if options.constrained and (self.engine or not self.is_beam_search):
            raise ConfigError(
                "phrases that must be said need a plain beam search, without sampling, groups or another engine"
            )

    @property
    def _on_device(self) -> Engine | None:
        """The search on the device; None: there is none for what was asked."""
        search = self.device_search
        if search is None or self.shortlisted or self.options.sampling or not can_search(self.search):
            return None
        return search

    @property
    def _batch_tokens(self) -> int:
        """Source tokens times beam of a batch; a GPU takes as long for few as for many."""
        tokens = self.search.batch_tokens
        return _AUTOMATIC_BATCH[self.device.type] if tokens == "auto" else tokens

    def _narrowed(self, loaded: LoadedModel, precision: SearchPrecision) -> Shortlisted | None:
        """Returns the model restricted to a shortlist; None: no shortlist is wanted."""
        if self.options.shortlist is None:
            return None
        tokenizers = loaded.tokenizers
        shortlist = Shortlist.load(Path(self.options.shortlist), tokenizers.fingerprints, tokenizers.sizes)
        self.stepped = narrowed = Shortlisted(self.single, loaded.model.output, shortlist, precision)
        return narrowed

    def _finally(self, batch: SearchBatch, found: list[list[Hypothesis]], count: int) -> list[list[Hypothesis]]:
        """Converts shortlist ids, applies the coverage penalty, and returns the `count` best hypotheses."""
        if self.shortlisted:
            found = self.shortlisted.finished(found)
        if self.search.coverage_penalty:
            seen = attention_of(self.model, self.device, batch.ids, found)
            found = ranked_by_coverage(found, seen, batch.ids, self.search.coverage_penalty)
        return [hypotheses[:count] for hypotheses in found]
