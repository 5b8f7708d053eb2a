"""What the page about a run is made of, read from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nmt.checkpoint import load_model
from nmt.config import RnnConfig
from nmt.evaluation import Evaluation, evaluate
from nmt.models import Model
from nmt.prepared import Prepared, TestSet
from nmt.recipes import recipe_to_toml
from nmt.run_folder import RunFolder
from nmt.tokenizer import BOS, EOS, Tokenizer
from nmt.translator import Translator

_SHOWN = 12  # examples of a test set
_SEEN = 6  # of them with their attention


@dataclass(frozen=True)
class Example:
    """A sentence of a test set."""

    source: str
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class AttentionMap:
    """What the model looks at while it writes a translation."""

    source: list[str]
    """Pieces of the source, and the end."""
    target: list[str]
    weights: list[list[float]]
    """A row for each target piece."""


@dataclass(frozen=True)
class RunMaterial:
    """One run."""

    name: str
    family: str
    card: dict[str, Any]
    recipe: str
    """As TOML."""
    log: list[dict[str, Any]]
    evaluations: list[Evaluation]
    data: dict[str, Any]
    """The report of the prepared corpus."""
    examples: list[Example] = field(default_factory=list)
    attention: list[AttentionMap] = field(default_factory=list)


def gather(
    run: Path, name: str, prepared: Prepared, translator: Translator, testsets: Sequence[TestSet]
) -> RunMaterial:
    """Reads a run's log and card, and translates test sets: one at least."""
    loaded = load_model(run)
    evaluations = [evaluate(translator, testset) for testset in testsets]
    config = loaded.recipe.model
    return RunMaterial(
        name=name,
        family=config.family,
        card=loaded.card,
        recipe=recipe_to_toml(loaded.recipe),
        log=RunFolder(run).entries(),
        evaluations=evaluations,
        data=prepared.report,
        examples=_examples(evaluations[0]),
        attention=_attention(loaded.model, translator, evaluations[0]),
    )


def _examples(evaluation: Evaluation) -> list[Example]:
    testset = evaluation.testset
    return [
        Example(testset.source[row], testset.target[row], evaluation.hypotheses[row]) for row in testset.spread(_SHOWN)
    ]


def _attention(model: Model, translator: Translator, evaluation: Evaluation) -> list[AttentionMap]:
    if isinstance(translator.recipe.model, RnnConfig) and translator.recipe.model.attention == "none":
        return []
    tokenizers = translator.tokenizers
    maps: list[AttentionMap] = []
    for row in evaluation.testset.spread(_SEEN):
        source = tokenizers.source.encode([evaluation.testset.source[row]])[0]
        target = tokenizers.target.encode([evaluation.hypotheses[row]])[0]
        with torch.no_grad():
            weights = model.attention(
                torch.tensor([[*source, EOS]]), torch.tensor([len(source) + 1]), torch.tensor([[BOS, *target]])
            )
        rounded = [[round(float(weight), 3) for weight in line] for line in weights[0]]
        maps.append(AttentionMap(_pieces(tokenizers.source, source), _pieces(tokenizers.target, target), rounded))
    return maps


def _pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    return [*tokenizer.id_to_pieces(ids), "</s>"]
