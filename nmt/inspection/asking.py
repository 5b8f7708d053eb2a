"""What all views share: the fields of requests, the model that is named, and the tokens of a line."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import EOS
from nmt.decoding.batches import padded
from nmt.errors import ConfigError, DataError, NmtError
from nmt.translation.alignment import word_numbers
from nmt.translation.attention import END, joined_words
from nmt.translation.translator import Translator

Translators = Mapping[str, Translator]
"""The models that may be asked about, by name."""
Text = Annotated[str, Field(max_length=2000)]
BITS = 1 / math.log(2)  # in a natural logarithm of 1


class Request(BaseModel):
    """A frozen question that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    target_language: str | None = None
    """Language to translate into; None: the model's first."""


class OneModel(Request):
    """A question about one model and one line."""

    model: str
    """Name of the model."""
    text: Text
    """The line to translate."""


class SeveralModels(Request):
    """A question about several models and one line."""

    models: Annotated[list[str], Field(min_length=1, max_length=4)]
    """Names of the models."""
    text: Text
    """The line to translate."""


class UnknownModelError(NmtError):
    """No model has the name that was asked for."""


@dataclass(frozen=True)
class Written:
    """A target as a model writes it."""

    tokens: list[int]
    """T token ids, without BOS and EOS."""
    pieces: list[str]
    """T + 1 pieces, the end included."""
    numbers: list[int]
    """T + 1 numbers of words from 0: the word of each piece."""
    words: list[str]
    """J + 1 words, the end included."""


def chosen(translators: Translators, name: str, target_language: str | None = None) -> Translator:
    """Returns the model of that name, which translates into a language, or into its first.

    Raises:
        UnknownModelError: there is none.
        ConfigError: it has no such target language.
    """
    if name not in translators:
        near = difflib.get_close_matches(name, translators, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(translators)}"
        raise UnknownModelError(f"no model is named {name!r}; {hint}")
    return translators[name] if target_language is None else translators[name].with_text(target_language)


def source_tokens(translator: Translator, text: str) -> list[int]:
    """Returns the tokens of a line, at least one, cut at the model's limit.

    Raises:
        DataError: the line has no words.
    """
    (tokens,) = translator.source.cut([text])
    if not tokens:
        raise DataError("the text has no words; write a line to translate")
    return tokens


def source_batch(translator: Translator, tokens: list[int], copies: int = 1) -> tuple[Tensor, Tensor]:
    """Returns source tokens with the end as a batch (B, S) on the model's device, and their lengths (B,)."""
    ids, lengths = padded([tokens] * copies, before=-1, after=EOS)
    return ids.to(translator.device), lengths


def written(translator: Translator, text: str) -> Written:
    """Returns a target line as the model writes it, with the end as the last word."""
    tokens, (pieces,) = translator.encode_target(text), translator.target.pieces([text])
    numbers = word_numbers(pieces)
    words = joined_words(translator.tokenizers.target, pieces, numbers)
    return Written(tokens, [*pieces, END], [*numbers, len(words)], [*words, END])


def source_words(translator: Translator, text: str) -> tuple[list[str], list[int]]:
    """Returns the words of a source line, the end included, and the word of each token; a language tag is left out."""
    pieces, _ = translator.source.pieces(text)
    numbers = word_numbers(pieces)
    words = joined_words(translator.tokenizers.source, pieces, numbers)
    return [*words, END], [*numbers, len(words)]


def plain_search(translator: Translator, beam: int | None = None) -> SearchConfig:
    """Returns the search settings of a model that searches by plain beam search.

    Raises:
        ConfigError: it searches otherwise.
    """
    decoder, options = translator.decoder, translator.options
    search = (translator if beam is None else translator.with_search(beam=beam)).search
    other = options.constrained or options.forbidden or options.shortlist or decoder.engine
    if other or not decoder.is_beam_search:
        raise ConfigError("this view shows plain beam search; the model was opened with other options of search")
    return search


def rounded(values: Tensor, digits: int = 4) -> list[Any]:
    """Returns a tensor as nested lists of short numbers."""
    found: list[Any] = np.round(values.double().numpy(), digits).tolist()
    return found
