"""One look of an attention RNN: the energies of its score function, and what other formulas make of the same vectors."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from nmt.config.model import ScoreName
from nmt.corpus.tokenizer import BOS
from nmt.errors import ConfigError, DataError
from nmt.fast.cpu.exponential_score import ExponentialScore
from nmt.inspection.asking import (
    SeveralModels,
    Text,
    Translators,
    chosen,
    rounded,
    source_batch,
    source_tokens,
    source_words,
    written,
)
from nmt.models.rnn.decoder import AttentionDecoder
from nmt.models.rnn.look import AttendingDecoder
from nmt.models.rnn.model import RnnSeq2Seq
from nmt.models.rnn.scores import AdditiveScore, MultiHeadScore, make_score
from nmt.models.rnn.weighting import Place, Weighting, Weights
from nmt.translation.translator import Translator

# I source words, S source tokens, H heads, Q width of the query, A width of the keys

_PLAIN: tuple[ScoreName, ...] = ("dot", "scaled_dot")  # score functions without parameters


class ScoresRequest(SeveralModels):
    """Asks how attention RNNs compare a decoder state with the source."""

    target: Text | None = None
    """A translation to use instead of the first model's own."""
    step: Annotated[int, Field(ge=0)]
    """The target word that is about to be written, from 0; after the last word stands the end."""


@dataclass(frozen=True)
class Seen:
    """What an attention RNN computed when it looked at the source once."""

    energies: Tensor
    """(H, S)"""
    weights: Tensor
    """(H, S)"""
    query: Tensor
    """(A,) the vector that the score function compares: the decoder state, or its projection where the score has one."""
    keys: Tensor
    """(S, A) the vectors that it is compared with."""


class _Recorder:
    """Stands in the place of a weighting and keeps what passes through."""

    def __init__(self, weighting: Weighting) -> None:
        self._weighting = weighting
        self.energies: list[Tensor] = []
        self.weights: list[Tensor] = []
        self.queries: list[Tensor] = []

    def __call__(self, scores: Tensor, place: Place) -> Weights:
        """See `nmt.models.rnn.weighting`."""
        found: Weights = self._weighting(scores, place)
        self.energies.append(scores)
        self.weights.append(found.values)
        self.queries.append(place.query)
        return found


def scores(translators: Translators, request: ScoresRequest) -> dict[str, Any]:
    """Returns the energies and weights of the source words when a target word is written: by each model, and by plain formulas.

    A word of several pieces has the energy log sum_k exp e_k, so that the softmax over words is the sum over their pieces. The
    target word is about to be written, so its first piece counts. `trained` forms are those that a model learned. The others
    are formulas without parameters on the same vectors: W s_i and U h_j where the score function projects them.

    Raises:
        NmtError: a model has no such attention, the models split the line into other words, or there is no such step.
    """
    models = {name: chosen(translators, name, request.target_language) for name in request.models}
    first = next(iter(models.values()))
    for name, translator in models.items():
        _attending(name, translator)
    target = first.translate([request.text])[0] if request.target is None else request.target
    steps = written(first, target).words
    if request.step >= len(steps):
        raise DataError(f"the translation has {len(steps) - 1} words and an end, so step must be below {len(steps)}")
    source, _ = source_words(first, request.text)
    forms: list[dict[str, Any]] = []
    for name, translator in models.items():
        forms += _forms(name, translator, request, target, source)
    return {"step_word": steps[request.step], "source": source, "forms": forms}


def _forms(
    name: str, translator: Translator, request: ScoresRequest, target: str, source: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yields the score of a model, head by head, then the plain ones."""
    own, said = source_words(translator, request.text), written(translator, target)
    if own[0] != list(source) or request.step >= len(said.words):
        raise DataError(f"{name} splits these lines into other words than {request.models[0]}; ask about one of them")
    model, decoder = _attending(name, translator)
    seen = look(translator, request.text, said.tokens, said.numbers.index(request.step))
    tag = seen.keys.shape[0] - len(own[1])
    numbers = own[1]

    def form(kind: str, formula: str, energies: Tensor, weights: Tensor, trained: bool) -> dict[str, Any]:
        shown = {"energies": _log_sums(energies[tag:], numbers), "weights": _sums(weights[tag:], numbers)}
        named = {"model": name, "name": kind, "formula": formula}
        return named | {part: rounded(values) for part, values in shown.items()} | {"trained": trained}

    attention, heads = model.config.attention, len(seen.energies)
    state = "s_i-1" if model.config.query == "previous" else "s_i"
    for head in range(heads):
        kind = attention + (f", head {head + 1}" if heads > 1 else "")
        yield form(
            kind, decoder.score.formula.replace("s_i", state), seen.energies[head], seen.weights[head], trained=True
        )
    for plain in _PLAIN:
        if plain != attention and seen.query.shape[0] == seen.keys.shape[1]:
            score = make_score(plain, seen.query.shape[0], seen.keys.shape[1])
            energies = score(seen.query[None, None], seen.keys[None])[0, 0]
            yield form(plain, score.formula.replace("s_i", state), energies, energies.softmax(0), trained=False)


def look(translator: Translator, text: str, target: list[int], position: int) -> Seen:
    """Returns the look of an attention RNN before it writes the target token at a position, from 0."""
    model, decoder = _attending("the model", translator)
    ids, lengths = source_batch(translator, source_tokens(translator, text))
    tokens = torch.tensor([[BOS, *target[:position]]], device=translator.device)
    watched = copy.copy(decoder)  # so that the model itself stays as it is
    recorder = _Recorder(decoder.weighting)
    object.__setattr__(watched, "weighting", recorder)  # modules would be set in the parts that both share
    if isinstance(watched, AttentionDecoder):
        watched.replacement = None
    with torch.inference_mode():
        memory = model.encode(ids, lengths)
        watched(model.embed(model.target_embedding, tokens), memory, model.first(memory))
        energies, weights, queries = (
            torch.cat(part, 1)[:, -1] for part in (recorder.energies, recorder.weights, recorder.queries)
        )
        query, keys = _compared(decoder.score, queries, memory.keys)
    return Seen(*(part.double().cpu() for part in (energies + _constant(decoder.score), weights, query[0], keys[0])))


def _attending(name: str, translator: Translator) -> tuple[RnnSeq2Seq, AttendingDecoder]:
    """Returns an attention RNN and its decoder.

    Raises:
        ConfigError: the model is another.
    """
    model = translator.decoder.single
    if isinstance(model, RnnSeq2Seq) and isinstance(model.decoder, AttendingDecoder):
        return model, model.decoder
    raise ConfigError(f"{name} has no score function to show; ask about an RNN with attention that reads words")


def _compared(score: nn.Module, query: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the vectors that a score function compares, from a query (1, Q) and the keys (1, S, A) of a memory."""
    match score:
        case ExponentialScore():  # its keys are e^2x
            return score.query(query), keys.log() / 2
        case AdditiveScore() | MultiHeadScore():
            return score.query(query), keys
        case _:
            return query, keys


def _constant(score: nn.Module) -> Tensor | float:
    """Returns what a score function leaves out of its energies, as the softmax does not see it."""
    return score.vector.sum() if isinstance(score, ExponentialScore) else 0.0


def _sums(weights: Tensor, numbers: list[int]) -> Tensor:
    """Returns the weight of each word, from weights (S,) of its tokens."""
    return weights.new_zeros(numbers[-1] + 1).index_add_(0, torch.tensor(numbers), weights)


def _log_sums(energies: Tensor, numbers: list[int]) -> Tensor:
    """Returns the energy of each word, from energies (S,) of its tokens."""
    parts = [[place for place, number in enumerate(numbers) if number == word] for word in range(numbers[-1] + 1)]
    return torch.stack([energies[places].logsumexp(0) for places in parts])
