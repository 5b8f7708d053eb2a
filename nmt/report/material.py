"""Content of the report page about a run, read from its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmt.config.reading import recipe_to_toml
from nmt.corpus.prepared import Prepared
from nmt.corpus.testset import TestSet
from nmt.report.figures import seen_line
from nmt.scoring.evaluation import Evaluation
from nmt.storage.run_folder import RunFolder
from nmt.translation.attention import END, attend
from nmt.translation.evaluation import evaluate
from nmt.translation.pieces import attend_pieces
from nmt.translation.translator import Translator

_SHOWN = 12  # examples shown of a test set
_SEEN = 6  # examples shown with attention


@dataclass(frozen=True)
class Example:
    """A test sentence with its translation."""

    source: str
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class Sampled:
    """A validation sentence, and what the model said of it after the first, a middle and the last validation."""

    source: str
    reference: str
    said: list[tuple[int, str]]
    """Updates made, and the translation."""


@dataclass(frozen=True)
class AttentionMap:
    """Attention while a translation is written."""

    source: list[str]
    """Pieces of the source, with the end of sentence."""
    target: list[str]
    weights: list[list[float]]
    """One row per target piece."""
    line: str = ""
    """For a model that reads pictures: the line that it saw and where it looked, as an SVG element."""


@dataclass(frozen=True)
class RunMaterial:
    """The content about one run."""

    name: str
    family: str
    card: dict[str, Any]
    recipe: str
    """The recipe as TOML."""
    log: list[dict[str, Any]]
    evaluations: list[Evaluation]
    data: dict[str, Any]
    """The report of the prepared corpus."""
    examples: list[Example] = field(default_factory=list)
    attention: list[AttentionMap] = field(default_factory=list)
    samples: list[Sampled] = field(default_factory=list)


def material_of(
    run: Path, name: str, prepared: Prepared, translator: Translator, testsets: Sequence[TestSet]
) -> RunMaterial:
    """Reads a run's log and card, and translates one or more test sets."""
    evaluations = [evaluate(translator, testset) for testset in testsets]
    return RunMaterial(
        name=name,
        family=translator.recipe.model.family,
        card=translator.card,
        recipe=recipe_to_toml(translator.recipe, run),
        log=RunFolder(run).entries(),
        evaluations=evaluations,
        data=prepared.report,
        examples=_examples(evaluations[0]),
        attention=_attention(translator, evaluations[0]),
        samples=sampled(RunFolder(run).sampled()),
    )


def sampled(entries: Sequence[Mapping[str, Any]]) -> list[Sampled]:
    """Gathers the first, a middle and the last line of `samples.jsonl` by sentence; what has another form is left out."""
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for place in sorted({0, (len(entries) - 1) // 2, len(entries) - 1}) if entries else ():
        with suppress(KeyError, TypeError):
            for sentence in entries[place]["sentences"]:
                texts = [str(sentence[name]) for name in ("source", "reference", "translation")]
                found.setdefault((texts[0], texts[1]), []).append((entries[place]["step"], texts[2]))
    return [Sampled(*texts, said) for texts, said in found.items()]


def _examples(evaluation: Evaluation) -> list[Example]:
    testset = evaluation.testset
    return [
        Example(testset.source[row], testset.target[row], evaluation.hypotheses[row]) for row in testset.spread(_SHOWN)
    ]


def _attention(translator: Translator, evaluation: Evaluation) -> list[AttentionMap]:
    if translator.recipe.model.kind == "visual":
        return _attention_to_lines(translator, evaluation)
    rows = evaluation.testset.spread(_SEEN)
    found = (attend_pieces(translator, evaluation.testset.tagged[row], evaluation.hypotheses[row]) for row in rows)
    return [AttentionMap(seen.source, seen.target, seen.weights) for seen in found if seen is not None]


def _attention_to_lines(translator: Translator, evaluation: Evaluation) -> list[AttentionMap]:
    """Returns attention between words, each with the picture of the line, of a model that reads pictures."""
    maps: list[AttentionMap] = []
    for row in evaluation.testset.spread(_SEEN):
        source, target = evaluation.testset.tagged[row], evaluation.hypotheses[row]
        if not target.split():
            continue
        seen = attend(translator, source, target)
        weights = [[round(weight, 3) for weight in line] for line in seen.chosen().tolist()]
        words, picture = [*seen.target, END], seen.picture
        line = "" if picture is None else seen_line(words, picture, picture.chosen(seen.layer, None))
        maps.append(AttentionMap([*seen.source, END], words, weights, line))
    return maps
