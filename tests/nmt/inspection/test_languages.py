"""Every view answers for the language that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from looking import TARGET, TEXT
from nmt.config.data import TokenizerConfig
from nmt.corpus.tokenizer import Tokenizer, Tokenizers
from nmt.errors import ConfigError
from nmt.inspection.views import VIEWS, View
from nmt.storage.bundle import LoadedModel
from nmt.translation.translator import Translator
from tiny import make_model, make_recipe


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_a_view_takes_a_target_language(view: View) -> None:
    """The first is meant if none is named; another one gives another answer, and an unknown one is refused."""
    tokenizer = Tokenizer.train(
        [TEXT, TARGET], TokenizerConfig(kind="word", vocabulary=30, user_symbols=("<2en>", "<2fr>"))
    )
    french = {"corpus": "y", "source": "de", "target": "fr"}
    recipe = make_recipe(data={"source": "de", "target": "en", "tag_target": True, "more": [french]})
    model = make_model("additive", tokenizer.vocabulary_size)
    loaded = LoadedModel(model, Tokenizers(tokenizer, tokenizer), recipe, Path(), {})
    models = {"m": Translator(loaded)}
    possible = {"model": "m", "models": ["m"], "text": TEXT, "target": TARGET, "prefix": "The", "step": 0}
    fields = {name: value for name, value in possible.items() if name in view.request.model_fields}

    def answer(language: str | None) -> object:
        return view.run(models, view.request.model_validate({**fields, "target_language": language}))

    assert answer(None) == answer("en") != answer("fr")
    with pytest.raises(ConfigError, match="this model translates into en, fr, not into it"):
        answer("it")
