"""Trains the tokenizers of a recipe on a sample of its training text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from nmt.config.recipe import Recipe
from nmt.corpus.tokenizer import MASK, Tokenizer, Tokenizers, language_tag
from nmt_data.shards import lines_of
from nmt_data.texts import Texts

_MOST = 1_000_000
"""A tokenizer is trained on fewer than twice as many lines a side, spread evenly: more change few tokens."""


def train_tokenizers(recipe: Recipe, texts: Texts) -> Tokenizers:
    """Trains one tokenizer for each side, or one for both.

    Raises:
        DataError: the text does not fit the vocabulary size.
    """
    step = max(1, (texts.pairs + texts.lines) // _MOST)
    source, target = _sample(texts, "source", step, recipe.data.tag_target), _sample(texts, "target", step)
    config = recipe.tokenizer.model_copy(update={"kind": recipe.tokenizer.kinds[0]})
    if config.kind != "byte":  # which spells tags too
        symbols = [*config.user_symbols, *map(language_tag, recipe.data.tags), *([MASK] if recipe.data.mono else [])]
        config = config.model_copy(update={"user_symbols": tuple(dict.fromkeys(symbols))})
    if config.joint:
        joint = Tokenizer.train(chain(source, target), config)
        return Tokenizers(joint, joint)
    return Tokenizers(Tokenizer.train(source, config), Tokenizer.train(target, recipe.tokenizer))


def _sample(texts: Texts, side: str, step: int, tagged: bool = False) -> Iterator[str]:
    """Yields every `step`-th line of a side; a line without translation only as a source, so that it counts once."""
    selection, before = texts.selection, 0
    for number in range(len(selection)):
        stream = texts.streams[selection.stream(number)]
        if side == "target" and stream.mono:
            return
        rows = np.flatnonzero(selection.kept(number))
        lines = lines_of(selection.gathered.shard(number), side, rows[-before % step :: step])
        tag = f"{language_tag(stream.languages[1])} " if tagged else ""
        yield from (f"{tag}{line}" for line in lines) if tagged else lines
        before += len(rows)
