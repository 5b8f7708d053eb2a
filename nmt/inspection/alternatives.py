"""What may follow the beginning of a translation: the next words, and the translation that each leads to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.decoding.beam_search import Hypothesis, configured_rules, length_limits
from nmt.decoding.compiled import fastest_search
from nmt.decoding.rules import Extension, Prefix
from nmt.errors import DataError
from nmt.inspection.asking import OneModel, Text, Translators, chosen, plain_search, source_batch, source_tokens
from nmt.inspection.beam import reranked
from nmt.models.protocol import Seq2Seq, log_softmax
from nmt.translation.attention import END
from nmt.translation.result import Start
from nmt.translation.translator import Translator
from nmt.translation.wording import Wording

# R rows, V vocabulary; tokens are those of the target

_LONGEST = 32  # pieces of a word


class AlternativesRequest(OneModel):
    """Asks for the words that may follow a beginning."""

    prefix: Text
    """The beginning of a translation. After a space at its end a new word follows; without one the last word may go on."""
    count: Annotated[int, Field(ge=1, le=20)] = 8
    """Words wanted."""


@dataclass(frozen=True)
class Words:
    """Where words begin and end in a vocabulary."""

    begins: Tensor
    """(V,) True at tokens that begin a word."""
    ends: Tensor
    """(V,) True at tokens that show that the word before has ended: those that begin one, and EOS."""

    @classmethod
    def of(cls, translator: Translator) -> Words:
        """Reads the target vocabulary of a model."""
        spelled = translator.tokenizers.target.spelled
        begins = torch.tensor([isinstance(text, str) and text.startswith(" ") for text in spelled])
        ends = begins.clone()
        ends[EOS] = True
        return cls(begins.to(translator.device), ends.to(translator.device))


@dataclass(frozen=True)
class WordEnds:
    """The rule that a word ends where each forced beginning ends, so that "dog" does not become "dogs"."""

    begins: Sequence[Sequence[int]]
    words: Words

    def __call__(self, log_probabilities: Tensor, extension: Extension) -> None:
        """See `nmt.decoding.rules.Rule`."""
        position = extension.history.shape[1]
        at_end = [position == len(self.begins[sentence]) for sentence in extension.rows]
        rows = torch.tensor(at_end, device=log_probabilities.device)
        log_probabilities.masked_fill_(rows[:, None] & ~self.words.ends, -torch.inf)


@dataclass
class NextWord:
    """A word that may follow."""

    text: str
    """The translation so far, with this word."""
    tokens: list[int]
    """The most probable tokens of the word."""
    log_probability: float
    """Over all ways to spell it."""
    completion: str = ""


def alternatives(translators: Translators, request: AlternativesRequest) -> dict[str, Any]:
    """Returns the most probable next words, each with its probability and the whole translation that it leads to.

    The probability of a word is that of its pieces, and that a new word or the end follows: p(w) = sum over the spellings z of
    w of prod_k p(z_k | prefix, z_<k, x) * p(boundary | prefix, z, x). Words are different events, so the sum is at most 1.
    `continues` words go on with the last word of the prefix; `prefix` is the translation so far, with the word. The end is a
    word too, `</s>`.

    Raises:
        NmtError: the text has no words, the prefix is too long, or the model does not search by plain beam search.
    """
    translator = chosen(translators, request.model, request.target_language)
    config = plain_search(translator)
    tokens = source_tokens(translator, request.text)
    (start,) = translator.target.starts([request.prefix])
    limit = int(length_limits(torch.tensor([len(tokens) + 1]), config)[0])
    if len(start.tokens) >= limit:
        raise DataError(
            f"the prefix has {len(start.tokens)} tokens, and a translation of this text at most {limit - 1}"
        )
    words = Words.of(translator)
    before, found = _next_words(translator, tokens, start, words, request)
    _complete(translator, tokens, start, words, found)
    following = [
        {
            "word": _added(before, item.text) if item.tokens != [EOS] else END,
            "probability": min(1.0, math.exp(item.log_probability)),
            "continues": bool(before) and not bool(words.ends[item.tokens[0]]),
            "prefix": item.text,
            "completion": item.completion,
        }
        for item in found
    ]
    return {"prefix": before, "next": following}


def _next_words(
    translator: Translator, source: list[int], start: Start, words: Words, request: AlternativesRequest
) -> tuple[str, list[NextWord]]:
    """Returns the beginning as text and the words after it, best first."""
    new = request.prefix[-1:].isspace() and bool(start.tokens)
    ids, lengths = source_batch(translator, source)
    spelled = list(
        _spellings(translator.decoder.stepped, ids, lengths, start.tokens, words, new, max(16, 2 * request.count))
    )
    before, *texts = _texts(translator, start, [[], *(tokens for tokens, _ in spelled)])
    merged: dict[tuple[str, bool], NextWord] = {}
    for text, (tokens, value) in sorted(zip(texts, spelled, strict=True), key=lambda pair: -pair[1][1]):
        key = text, tokens == [EOS]
        if key not in merged and (text != before or tokens == [EOS]):
            merged[key] = NextWord(text, tokens, value)
        elif key in merged:
            merged[key].log_probability = float(np.logaddexp(merged[key].log_probability, value))
    return before, sorted(merged.values(), key=lambda item: (-item.log_probability, item.text))[: request.count]


@torch.inference_mode()
def _spellings(
    model: Seq2Seq[Any, Any],
    source: Tensor,
    lengths: Tensor,
    begin: Sequence[int],
    words: Words,
    new: bool,
    width: int,
) -> Iterator[tuple[list[int], float]]:
    """Yields the tokens of each word that a beam over pieces completes, with its log-probability; and the end.

    A hypothesis is complete when a token that begins a word, or the end, follows. Its log-probability counts that.
    """
    state = model.start(model.encode(source, lengths), 1)
    only = torch.zeros(1, dtype=torch.long, device=source.device)
    logits, state = model.step(state, torch.full_like(only, BOS))
    for token in begin:
        logits, state = model.step(model.reorder(state, only, 1), torch.full_like(only, token))
    values = _allowed(logits)  # (1, V)
    yield [EOS], float(values[0, EOS])
    values[0, EOS] = -torch.inf
    if new:
        values = values.masked_fill(~words.begins, -torch.inf)
    said: list[list[int]] = [[]]
    best: list[float] = []
    for _ in range(_LONGEST):
        scores, places = _top(values, width)
        rows, tokens = places // values.shape[1], places % values.shape[1]
        if len(best) >= width and float(scores[0]) <= sorted(best)[-width]:
            return  # log-probabilities only fall
        said = [[*said[row], token] for row, token in zip(rows.tolist(), tokens.tolist(), strict=True)]
        logits, state = model.step(model.reorder(state, rows, width), tokens)
        values = _allowed(logits) + scores[:, None]  # (R, V)
        complete = values[:, words.ends].logsumexp(1).tolist()
        for word, value in zip(said, complete, strict=True):
            if value > -torch.inf:
                best.append(value)
                yield word, value
        values = values.masked_fill(words.ends, -torch.inf)


def _allowed(logits: Tensor) -> Tensor:
    """Returns log-probabilities (R, V), without the tokens that search never says."""
    values = log_softmax(logits).double()
    values[:, [PAD, BOS]] = -torch.inf
    return values


def _top(values: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Returns the `width` largest of values (R, V) and their places in the flat tensor; missing ones are -inf."""
    scores, places = values.flatten().topk(min(width, values.numel()))
    missing = width - len(scores)
    return torch.cat([scores, scores.new_full((missing,), -torch.inf)]), torch.cat([places, places[:1].repeat(missing)])


def _complete(translator: Translator, source: list[int], start: Start, words: Words, found: list[NextWord]) -> None:
    """Sets the completions: the best translation that begins with the prefix and the word."""
    open_ = [item for item in found if item.tokens != [EOS]]
    for item in found:
        item.completion = item.text
    if not open_:
        return
    begins = [[*start.tokens, *item.tokens] for item in open_]
    config = translator.search
    rules = [Prefix(begins, [*configured_rules(config), WordEnds(begins, words)])]
    batch = source_batch(translator, source, len(open_))
    best = config.beam if config.coverage_penalty else 1
    hypotheses = fastest_search(translator.device)(translator.decoder.stepped, *batch, config, best, rules)
    ranked = reranked(translator, [source] * len(open_), hypotheses, config)
    rest = [items[0].tokens[len(start.tokens) :] for items in ranked]
    for item, text in zip(open_, _texts(translator, start, rest), strict=True):
        item.completion = text


def _texts(translator: Translator, start: Start, rests: Sequence[list[int]]) -> list[str]:
    """Returns the text of a beginning with each of the continuations in tokens."""
    said = [[*start.tokens, *(token for token in rest if token != EOS)] for rest in rests]
    hypotheses = [Hypothesis(tokens, 0.0, 0.0, cut=False) for tokens in said]
    (found,) = Wording(translator.tokenizers, translator.options, None).texts([hypotheses], [start])
    return [item.text for item in found]


def _added(before: str, after: str) -> str:
    """Returns what a text has more than its beginning."""
    return after.removeprefix(before).strip() if after.startswith(before) else after.rsplit(maxsplit=1)[-1]
