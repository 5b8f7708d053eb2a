"""Sizes of the model and the vocabulary against the corpus."""

from __future__ import annotations

import numpy as np

from nmt.config.recipe import Recipe
from nmt.corpus.prepared import Prepared
from nmt_data.doctor.finding import Finding, advice, ok
from nmt_data.sizes import SELDOM, are_too_rare, is_too_large

_SPECIAL = 4  # pieces that are never in the text


def examine_sizes(recipe: Recipe, prepared: Prepared, parameters: int) -> list[Finding]:
    """Returns the findings on the sizes of model and vocabulary."""
    return [model_size(prepared, parameters), *vocabulary(recipe, prepared)]


def model_size(prepared: Prepared, parameters: int) -> Finding:
    """Compares the number of parameters with the tokens that they are learnt from."""
    tokens = len(prepared.train.target.values)
    share = parameters / max(tokens, 1)
    text = f"{parameters:,} parameters for {tokens:,} target tokens of training text, {share:,.{int(share < 10)}f} for each"
    if is_too_large(parameters, tokens):
        remedy = "a smaller model would learn as much; make it narrower, or add text"
        return advice("model", text, remedy, parameters=parameters, tokens=tokens)
    return ok("model", text, parameters=parameters, tokens=tokens)


def vocabulary(recipe: Recipe, prepared: Prepared) -> list[Finding]:
    """Finds pieces that are seen too seldom to be learnt, on one side or, if they share a vocabulary, on both together."""
    train, tokenizers, (ours, theirs) = prepared.train, prepared.tokenizers, recipe.tokenizer.kinds
    sides = [
        ("source", tokenizers.source, [train.source], ours),
        ("target", tokenizers.target, [train.target], theirs),
    ]
    if recipe.tokenizer.joint:
        sides = [("joint", tokenizers.target, [train.source, train.target], theirs)]
    found: list[Finding] = []
    for side, tokenizer, corpora, kind in sides:
        count = tokenizer.vocabulary_size
        seen = sum(np.bincount(corpus.values, minlength=count) for corpus in corpora)
        rare = int((np.asarray(seen)[_SPECIAL:] < SELDOM).sum())
        text = f"{rare:,} of {count:,} {side} pieces are seen fewer than {SELDOM} times"
        if kind == "byte":  # its pieces are given, not chosen
            continue
        if kind in ("unigram", "bpe") and are_too_rare(rare, count):
            remedy = f"lower tokenizer.vocabulary = {recipe.tokenizer.vocabulary}: rare pieces are hardly learnt"
            found.append(advice("vocabulary", text, remedy, side=side, rare=rare, pieces=count))
        else:
            found.append(ok("vocabulary", text, side=side, rare=rare, pieces=count))
    return found
