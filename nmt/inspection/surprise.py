"""How much each word of a given translation surprises a model (forced decoding)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.inspection.asking import BITS, OneModel, Text, Translators, chosen, source_batch, source_tokens, written
from nmt.translation.translator import Translator

# T target tokens, V vocabulary

_INSTEAD = 5  # pieces shown beside each


class SurpriseRequest(OneModel):
    """Asks how a model likes a translation."""

    target: Text
    """The translation."""


def surprise(translators: Translators, request: SurpriseRequest) -> dict[str, Any]:
    """Returns the bits -log2 p(y_t | y_<t, x) of each piece and word, with the rank of each piece and the likeliest others.

    `word` of a piece is its place in `words`, from 0. The end of sentence is the last piece and the last word. `bits` is the
    sum, and `bits_per_word` its mean over `words`.

    Raises:
        NmtError: the text has no words.
    """
    translator = chosen(translators, request.model, request.target_language)
    target = written(translator, request.target)
    values = forced(translator, source_tokens(translator, request.text), target.tokens)  # (T + 1, V)
    outputs = torch.tensor([*target.tokens, EOS])
    bits = (values.gather(1, outputs[:, None]).squeeze(1).double() * -BITS).tolist()
    said = zip(target.pieces, target.numbers, bits, outputs.tolist(), values, strict=True)
    pieces = [
        {"piece": piece, "word": word, "bits": cost, "probability": 2**-cost} | _beside(translator, row, token)
        for piece, word, cost, token, row in said
    ]
    sums = [0.0] * len(target.words)
    for word, cost in zip(target.numbers, bits, strict=True):
        sums[word] += cost
    words = [{"word": word, "bits": cost} for word, cost in zip(target.words, sums, strict=True)]
    return {"pieces": pieces, "words": words, "bits": sum(bits), "bits_per_word": sum(bits) / len(words)}


def forced(translator: Translator, source: list[int], target: list[int]) -> Tensor:
    """Returns the log-probabilities (T + 1, V) of what may follow each beginning of a target, on the CPU."""
    ids, lengths = source_batch(translator, source)
    inputs = torch.tensor([[BOS, *target]], device=translator.device)
    with torch.inference_mode():
        return translator.decoder.model.log_probabilities(ids, lengths, inputs)[0].cpu()


def _beside(translator: Translator, row: Tensor, token: int) -> dict[str, Any]:
    """Returns the rank of a token among log-probabilities (V,), from 1, and the most probable other pieces."""
    row = row.double().clone()
    mine, row[[PAD, BOS, token]] = float(row[token]), -torch.inf  # search never says PAD and BOS
    best = row.topk(min(_INSTEAD, len(row) - 3))
    names = translator.tokenizers.target.id_to_pieces(best.indices.tolist())
    instead = [
        {"piece": name, "probability": value} for name, value in zip(names, best.values.exp().tolist(), strict=True)
    ]
    return {"rank": 1 + int((row > mine).sum()), "instead": instead}
