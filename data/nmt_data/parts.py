"""The corpora of a recipe, and what identifies what is made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.config.cleaning import CleaningConfig
from nmt.config.data import CorpusConfig, DataConfig, Tokenization
from nmt.config.recipe import Recipe
from nmt.corpus.tokenizer import Tokenizers
from nmt.runtime.files import (
    file_sha256,
    fingerprint,
)
from nmt_data.cards import CorpusCard, load_card
from nmt_data.model_scores import model_identity
from nmt_data.mono import mono_sources
from nmt_data.reading import Split

_FORMAT = 7  # format of the prepared folder; raising it remakes all of them
_OLD = {"max_words", "max_ratio", "drop_identical", "duplicates", "drop_leaked"}
_NEWER = {
    "data": {"normalise": "none"},
    "cleaning": {key: default for key, default in CleaningConfig().model_dump(mode="json").items() if key not in _OLD},
}
_GENERATED = ["train", "valid", "test", "long"]


@dataclass(frozen=True)
class Part:
    """One corpus in one direction."""

    card: CorpusCard
    source: str
    target: str

    @property
    def languages(self) -> tuple[str, str]:
        """Source and target."""
        return self.source, self.target

    @property
    def direction(self) -> str:
        """For people: source-target."""
        return f"{self.source}-{self.target}"

    @property
    def tokenize(self) -> Tokenization:
        """How sacreBLEU splits the words of its target."""
        return self.card.tokenization(self.target)

    def splits(self) -> list[Split]:
        """All splits of the corpus, in this direction."""
        names = list(self.card.splits) or (list(self.card.hub.splits) if self.card.hub else _GENERATED)
        return [Split(self.card, name, self.source, self.target) for name in names]


def parts_of(recipe: Recipe) -> list[Part]:
    """The corpora of a recipe, the first first."""
    wanted: list[DataConfig | CorpusConfig] = [recipe.data, *recipe.data.more]
    return [Part(load_card(item.corpus, (item.source, item.target)), item.source, item.target) for item in wanted]


def fingerprint_of(recipe: Recipe, parts: Sequence[Part], taken: Tokenizers | None) -> str:
    """Returns a fingerprint of all that the result depends on: settings, cards, and content of local files.

    Their place counts only where it tells how they are read, as the name of `de.po` does.
    """
    cards = [
        {"card": _told(part.card), "files": _hashes(part), "to": part.direction} | _held_out(part) for part in parts
    ]
    mixing = {"weight", "temperature"}  # they decide how corpora are sampled, not what they contain
    data = recipe.data.model_dump(mode="json", exclude={*mixing, "corpus", "more", "mono"})
    for section, keys in ((data, _NEWER["data"]), (data["cleaning"], _NEWER["cleaning"])):
        for key, default in keys.items():
            if section[key] == default:  # as before there was this key
                del section[key]
    if recipe.data.cleaning.near_duplicates is not None:
        data["cleaning"]["shingles"] = "of both sides"  # and no longer of the languages' codes too
    if recipe.data.cleaning.max_repeats is not None:
        data["cleaning"]["repeats"] = "of words with their marks"
    if recipe.data.cleaning.drop_other_numbers:
        data["cleaning"]["numbers"] = "with Arabic thousands"
    if recipe.data.normalise != "none":
        data["audit"] = "of normalised test sets"
    if (model := recipe.data.cleaning.score_with) is not None:
        data["cleaning"]["score_with"] = model_identity(model)
    if recipe.data.mono:
        data["mono"] = [source.identity for source in mono_sources(recipe.data, parts[0].card)]
    tokenizer = recipe.tokenizer.model_dump(mode="json", exclude={"model"})
    if tokenizer["source_kind"] is None:  # as before there was this key
        del tokenizer["source_kind"]
    if taken:
        tokenizer = {"taken": [hashlib.sha256(side.model).hexdigest() for side in (taken.source, taken.target)]}
    return fingerprint({"format": _FORMAT, "data": data, "tokenizer": tokenizer, "corpora": cards})


def _held_out(part: Part) -> dict[str, str]:
    """Returns what decides the held-out pairs where that is not the source, as it once was."""
    by_target = part.card.holdout.total and part.card.first_side(part.languages)
    return {"held_out_by": "target"} if by_target else {}


def _told(card: CorpusCard) -> dict[str, Any]:
    """Returns what the card says, without its place."""
    told = card.model_dump(mode="json", exclude={"folder"})
    if card.hub and card.hub.revision is None:  # as before there was this key
        del told["hub"]["revision"]
    return told


def _hashes(part: Part) -> dict[str, str]:
    """Returns hashes of what is read: the files of each split in the order of the languages, or the generator."""
    if part.card.generator:
        package = Path(__file__).parent / "synthetic"
        return {path.relative_to(package).as_posix(): file_sha256(path) for path in sorted(package.rglob("*.py"))}
    return {
        " ".join((split.name, f"{side}{path.suffix}", *split.told_by_name(path))): file_sha256(path)
        for split in part.splits()
        for side, path in enumerate(split.files)
    }
