"""Validation of a model in training: its loss on the validation set, and the score of translations."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nmt.config.data import Tokenization
from nmt.config.recipe import Recipe
from nmt.config.search import SearchConfig
from nmt.corpus.prepared import Prepared
from nmt.models import build_model
from nmt.runtime.processes import whole
from nmt.runtime.stages import counted
from nmt.scoring.metrics import bleu, chrf2
from nmt.scoring.tokenization import check_tokenization
from nmt.storage.bundle import LoadedModel
from nmt.storage.checkpoint import copy_weights
from nmt.training.batches import collate, plan_epoch, select
from nmt.training.samples import Sample, sample_rows, with_attention
from nmt.training.updater import Updater
from nmt.translation.translator import Translator

Weights = Mapping[str, torch.Tensor]

_BATCH_TOKENS = 4096  # or those of an update, if they are fewer: then a validation takes no more memory


@dataclass(frozen=True)
class Validation:
    """Results of one validation; loss and perplexity are per token, by natural logarithm, without label smoothing."""

    loss: float
    perplexity: float
    accuracy: float
    bleu: float
    chrf2: float | None
    """chrF2, if it is the metric that decides."""

    samples: list[Sample] = field(default_factory=list)
    """How a few sentences are translated, the same ones in each validation."""

    @property
    def figures(self) -> dict[str, Any]:
        """The numbers by name."""
        return {name: getattr(self, name) for name in ("loss", "perplexity", "accuracy", "bleu", "chrf2")}

    def score(self, metric: str) -> float:
        """Returns the score that decides on the best checkpoint; higher is better."""
        return {"bleu": self.bleu, "chrf2": self.chrf2 or 0.0, "loss": -self.loss}[metric]


class Validator:
    """Validates the model of an updater; the processes of its world share the work."""

    def __init__(self, recipe: Recipe, prepared: Prepared, updater: Updater, folder: Path) -> None:
        self.recipe, self.config, self.prepared = recipe, recipe.training, prepared
        self.updater, self.world, self.folder = updater, updater.world, folder
        testset, count = prepared.testset("valid"), recipe.training.validation_sentences
        self.tokenize: Tokenization = testset.tokenize
        check_tokenization(self.tokenize)
        self.source, self.target = testset.tagged[:count], testset.target[:count]

    def validate(self, weights: Weights | None = None) -> Validation:
        """Validates the model with these weights, or as it is trained; all processes get the same results."""
        with self._with(weights):
            loss, accuracy = self._loss()
            translator = self._translator(self.recipe.search.model_copy(update={"beam": 1, "groups": 1}))
            hypotheses = self._translations(translator)
            samples = self._samples(translator, hypotheses)
        return Validation(
            loss=loss,
            perplexity=exp(loss),
            accuracy=accuracy,
            bleu=self._bleu(hypotheses),
            chrf2=chrf2(hypotheses, self.target) if self.config.metric == "chrf2" else None,
            samples=samples,
        )

    def searched(self, weights: Weights | None = None) -> float:
        """Returns BLEU or chrF2, by `training.metric`, of translations by the recipe's own search; equal in all processes."""
        with self._with(weights):
            hypotheses = self._translations(self._translator(self.recipe.search))
        return chrf2(hypotheses, self.target) if self.config.metric == "chrf2" else self._bleu(hypotheses)

    @contextmanager
    def _with(self, weights: Weights | None) -> Generator[None]:
        """Gives the updater's model these weights within the context; None: the trained ones."""
        trained = self.updater.model
        if weights is None and not (self.updater.shards or self.config.compile):
            yield
            return
        self.updater.model = build_model(self.recipe.model, *self.prepared.tokenizers.sizes).to(self.updater.device)
        try:
            weights = weights or dict(trained.named_parameters())
            copy_weights({name: whole(part) for name, part in weights.items()}, self.updater.model, "validation")
            yield
        finally:
            self.updater.model = trained

    def _bleu(self, hypotheses: list[str]) -> float:
        return bleu(hypotheses, self.target, self.tokenize)

    @torch.no_grad()
    def _loss(self) -> tuple[float, float]:
        """Returns loss and accuracy per token."""
        self.updater.model.eval()
        corpus = self.prepared.valid
        rows = select(corpus, self.config.max_length).rows
        sums = torch.zeros(3, dtype=torch.float64)
        trained = self.config.batch_tokens
        plan = plan_epoch(corpus, rows, _BATCH_TOKENS if trained == "auto" else min(trained, _BATCH_TOKENS), 0, 0)
        own = plan[self.world.rank :: self.world.size]
        for chunk in counted(own, "loss of validation", len(own), "batches"):
            batch = collate(corpus, chunk)
            loss = self.updater.loss(batch.to(self.updater.device), 0.0)
            sums += torch.tensor([float(loss.total), float(loss.correct), batch.tokens], dtype=torch.float64)
        sums = sums.to(self.updater.device)
        self.world.add_up([sums])
        self.updater.model.train()
        total, correct, tokens = sums.tolist()
        return total / max(tokens, 1), correct / max(tokens, 1)

    def _translator(self, search: SearchConfig) -> Translator:
        self.updater.model.eval()
        loaded = LoadedModel(self.updater.model, self.prepared.tokenizers, self.recipe, self.folder, {})
        precision = self.updater.arithmetic.precision
        return Translator(loaded, self.updater.device, search, precision)

    def _translations(self, translator: Translator) -> list[str]:
        """Translates the first sentences of the validation set."""
        self.updater.model.eval()
        found = self.world.gather(translator.translate(self.world.share(self.source)))
        self.updater.model.train()
        return found

    def _samples(self, translator: Translator, hypotheses: list[str]) -> list[Sample]:
        """Returns the sentences to show, in the process that keeps the log."""
        if not self.world.leads:
            return []
        self.updater.model.eval()
        rows = sample_rows(self.source)
        found = [Sample(self.source[row], self.target[row], hypotheses[row]) for row in rows]
        found = with_attention(found, translator)
        self.updater.model.train()
        return found


def exp(value: float) -> float:
    """Returns e to the value, at most e^50."""
    return math.exp(min(value, 50.0))
