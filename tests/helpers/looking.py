"""Random translators of every family, for the views that look inside."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from nmt.config.data import TokenizerConfig
from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import Tokenizer, Tokenizers
from nmt.storage.bundle import LoadedModel
from nmt.translation.translator import Translator
from tiny import FAMILIES, VISUAL, make_model, make_recipe

TEXT = "Der alte Hund schläft heute."
TARGET = "The old dog sleeps today."
_LINES = (
    *(
        "Der alte Hund schläft heute in Berlin.",
        "The old dog sleeps in Berlin today.",
        "Die Katze sieht den Vogel nicht.",
    ),
    *("The cat does not see the bird.", "Wir singen und tanzen im Garten.", "We sing and dance in the garden."),
    *(
        "Kein Zug kommt vor Freitag an.",
        "No train will arrive before Friday.",
        "Hunde schlafen.",
        "Dogs sleep, cats jump.",
    ),
)
ATTENDING = [name for name in FAMILIES | VISUAL if not name.startswith("bottleneck")]


@cache
def make_tokenizers(visual: bool) -> Tokenizers:
    """Subwords of some sentences, so few that most words have several; a visual model reads bytes."""
    target = Tokenizer.train(_LINES, TokenizerConfig(kind="bpe", vocabulary=80))
    return Tokenizers(Tokenizer.train([], TokenizerConfig(kind="byte")) if visual else target, target)


@cache
def _loaded(name: str, single: bool) -> LoadedModel:
    tokenizers = make_tokenizers(name in VISUAL)
    model = make_model(name, tokenizers.target.vocabulary_size)
    recipe = make_recipe().model_copy(update={"model": (FAMILIES | VISUAL)[name]})
    return LoadedModel(model.float() if single else model, tokenizers, recipe, Path(), {})


def make_translator(name: str, single: bool = False, **search: Any) -> Translator:
    """A translator with a random model of a family: in float64, or with `single` in float32 by what replaces it there."""
    settings: dict[str, Any] = {"beam": 4, "max_length_ratio": 0.0, "max_length_constant": 8} | search
    return Translator(_loaded(name, single), search=SearchConfig(**settings))
