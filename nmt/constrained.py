"""Beam search whose translations contain given phrases: dynamic beam allocation (Post and Vilar 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nmt.config import SearchConfig
from nmt.extensions import apply_rules, best_extensions
from nmt.models.seq2seq import Seq2Seq, log_softmax
from nmt.rules import Extension, Rule
from nmt.search import Hypothesis, length_limits, length_penalty
from nmt.tokenizer import BOS, EOS, PAD

# B sentences, K beam, R = B * K rows, V vocabulary, T positions so far

Phrases = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Progress:
    """How much of its phrases a hypothesis has said."""

    phrases: Phrases
    said: frozenset[int] = frozenset()
    """Phrases that are whole."""
    current: int | None = None
    """The phrase in the middle of which it is."""
    position: int = 0
    """Tokens said of that."""

    @property
    def met(self) -> int:
        """Tokens of phrases said so far: the bank of the hypothesis."""
        return sum(len(self.phrases[index]) for index in self.said) + self.position

    @property
    def whole(self) -> bool:
        """Whether all phrases are said."""
        return len(self.said) == len(self.phrases)

    def wanted(self) -> list[int]:
        """Tokens that go on with a phrase, or begin one."""
        if self.current is not None:
            return [self.phrases[self.current][self.position]]
        return [phrase[0] for index, phrase in enumerate(self.phrases) if index not in self.said]

    def after(self, token: int) -> Progress:
        """With one more token. Phrases may overlap or lie inside of each other; one that is broken off may begin another."""
        begun = [] if self.current is None else self.phrases[self.current][: self.position]
        latest = [*begun, token]
        said = self.said | {
            index for index, phrase in enumerate(self.phrases) if latest[-len(phrase) :] == list(phrase)
        }
        for length in range(len(latest), 0, -1):
            for index, phrase in enumerate(self.phrases):
                if index not in said and list(phrase[:length]) == latest[-length:]:
                    return Progress(self.phrases, said, index, length)
        return Progress(self.phrases, said)


@dataclass(frozen=True)
class _Extended:
    """A hypothesis and one more token."""

    value: float
    row: int
    """Of its sentence."""
    token: int
    progress: Progress


@torch.inference_mode()
def constrained_beam_search(
    model: Seq2Seq[Any, Any],
    source: Tensor,
    lengths: Tensor,
    config: SearchConfig,
    phrases: Sequence[Phrases],
    best: int = 1,
    rules: Sequence[Rule] = (),
) -> list[list[Hypothesis]]:
    """The `best` hypotheses of each sentence, those that hold all its phrases (token ids) before the others, then by score.

    The beam is shared among banks, of the hypotheses that have said so many tokens of their phrases; a bank that is not filled
    leaves its places to the others, fullest first. Only what has said all may end, except at the length limit. Other
    arguments as for `nmt.search.beam_search`.
    """
    device, beam = source.device, config.beam
    penalty, limits = length_penalty(config), length_limits(lengths.to(device), config)
    everyone = torch.arange(len(source), device=device)
    state = model.start(model.encode(source, lengths), beam)
    tokens = torch.full((len(source) * beam,), BOS, device=device)  # (R,)
    history = tokens.new_zeros((len(tokens), 0))  # (R, T)
    scores = torch.full((len(source), beam), -torch.inf, dtype=torch.float64, device=device)
    scores[:, 0] = 0
    progress = [Progress(items) for items in phrases for _ in range(beam)]
    finished: list[list[tuple[bool, Hypothesis]]] = [[] for _ in phrases]
    for length in range(1, int(limits.max()) + 1):
        logits, state = model.step(state, tokens)
        log_probabilities = log_softmax(logits)
        at_limit = limits == length
        unmet = torch.tensor([not item.whole for item in progress], device=device)
        unmet &= ~at_limit.repeat_interleave(beam)
        log_probabilities[unmet, EOS] = -torch.inf
        apply_rules(rules, log_probabilities, Extension(everyone, history, beam), at_limit)
        rows, chosen = torch.zeros(len(tokens), dtype=torch.long), torch.full((len(tokens),), PAD)
        for sentence, candidates in enumerate(_candidates(scores, log_probabilities, progress, beam)):
            first = sentence * beam
            divisor, cut = penalty(scores.new_tensor(length)), bool(at_limit[sentence])
            finished[sentence] += _ended(candidates, history[first : first + beam], float(divisor), cut)
            finished[sentence].sort(key=lambda pair: (not pair[0], -pair[1].score))
            alive = _allocated([item for item in candidates if item.token != EOS], beam)
            reach = max((item.value for item in alive), default=-torch.inf) / float(penalty(limits[sentence].double()))
            if _is_done(finished[sentence], best, reach):
                alive = []
            alive += [_Extended(-torch.inf, 0, PAD, progress[first])] * (beam - len(alive))
            scores[sentence] = scores.new_tensor([item.value for item in alive])
            rows[first : first + beam] = torch.tensor([first + item.row for item in alive])
            chosen[first : first + beam] = torch.tensor([item.token for item in alive])
            progress[first : first + beam] = [item.progress for item in alive]
        if not bool(scores.isfinite().any()):
            break
        rows, tokens = rows.to(device), chosen.to(device)
        state = model.reorder(state, rows, beam)
        history = torch.cat([history[rows], tokens[:, None]], 1)
    return [[item for _, item in found[:best]] for found in finished]


def _ended(
    candidates: Sequence[_Extended], history: Tensor, divisor: float, cut: bool
) -> list[tuple[bool, Hypothesis]]:
    """What ends now of one sentence's extensions, and whether it has said all its phrases."""
    return [
        (item.progress.whole, Hypothesis(history[item.row].tolist(), item.value, item.value / divisor, cut))
        for item in candidates
        if item.token == EOS
    ]


def _is_done(finished: Sequence[tuple[bool, Hypothesis]], best: int, reach: float) -> bool:
    """Whether enough hypotheses have said all their phrases, and none still alive can end above them."""
    return len(finished) >= best and finished[best - 1][0] and finished[best - 1][1].score >= reach


def _candidates(
    scores: Tensor, log_probabilities: Tensor, progress: Sequence[Progress], beam: int
) -> Iterator[list[_Extended]]:
    """For each sentence its extensions, best first: the best of all, of each hypothesis, and the wanted."""
    _, origins, tokens = best_extensions(scores, log_probabilities, 2 * beam)
    for sentence, own in enumerate(scores):
        start = sentence * beam
        table = log_probabilities[start : start + beam].double() + own[:, None]  # (K, V)
        pairs = set(zip(origins[sentence].tolist(), tokens[sentence].tolist(), strict=True))
        pairs |= set(enumerate(table.argmax(1).tolist()))
        pairs |= {(row, token) for row in range(beam) for token in progress[start + row].wanted()}
        found = [
            _Extended(float(table[row, token]), row, token, progress[start + row].after(token)) for row, token in pairs
        ]
        yield sorted((item for item in found if item.value > -torch.inf), key=lambda item: (-item.value, item.row))


def _allocated(candidates: Sequence[_Extended], beam: int) -> list[_Extended]:
    """At most so many of the candidates, best first, shared among the banks."""
    if not candidates:
        return []
    total = sum(len(phrase) for phrase in candidates[0].progress.phrases)
    banks: list[list[_Extended]] = [[] for _ in range(total + 1)]
    for item in candidates:
        banks[item.progress.met].append(item)
    share, more = divmod(beam, len(banks))
    kept: list[_Extended] = []
    spare: list[_Extended] = []
    for number, bank in enumerate(reversed(banks)):  # what is left over goes to the fullest
        places = share + (number < more)
        kept += bank[:places]
        spare += bank[places:]
    return sorted([*kept, *spare[: beam - len(kept)]], key=lambda item: -item.value)
