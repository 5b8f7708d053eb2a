"""Beam search whose translations contain given phrases, by dynamic beam allocation (Post and Vilar 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.decoding.beam_search import Hypothesis, length_limits, length_penalty
from nmt.decoding.candidates import apply_rules, best_extensions
from nmt.decoding.phrases import SPACE, START, Phrases, Spelled, State, is_edge, kind_of
from nmt.decoding.rules import Extension, Rule
from nmt.models.protocol import Seq2Seq, log_softmax

# B sentences, K beam, R = B * K rows, V vocabulary, T positions so far


class Required:
    """Phrases that one translation must contain, and the tokens that spell them."""

    def __init__(
        self,
        phrases: Phrases,
        encoded: Sequence[Sequence[int]],
        spelled: Sequence[Spelled],
        tokens: Mapping[str, int],
    ) -> None:
        """Takes the phrases, one spelling of each in tokens, the text of each token, and the tokens by text."""
        self.phrases, self.encoded, self.spelled, self.tokens = phrases, encoded, spelled, tokens
        self.marks = [self._marks(index) for index in range(len(encoded))]
        """For each phrase and each of its tokens, how far the token reaches: characters, and bytes of the next character."""
        self.total = sum(map(len, encoded))
        """Number of tokens of all phrases."""

    def met_by(self, tokens: Sequence[int]) -> bool:
        """Whether a translation contains all phrases."""
        said = self.phrases.found(self.spelled[token] for token in tokens) if self.encoded else ()
        return len(said) == len(self.encoded)

    def _marks(self, index: int) -> list[tuple[int, int]]:
        state, marks = START, list[tuple[int, int]]()
        for token in self.encoded[index]:
            state, _ = self.phrases.read(state, self.spelled[token])
            reached = dict(reversed(list(self.phrases.begun(state.node))))
            marks.append((reached.get(index, 0), len(state.pending)))
        return marks


NOTHING = Required(Phrases([]), [], [], {})
"""No phrases, as for most translations."""


@dataclass(frozen=True)
class PhraseProgress:
    """How much of its required phrases a hypothesis contains."""

    required: Required
    state: State = START
    said: frozenset[int] = frozenset()
    """Indices of the phrases that are complete."""

    @property
    def met(self) -> int:
        """Number of phrase tokens said so far; this is the bank of the hypothesis."""
        return sum(len(self.required.encoded[index]) for index in self.said) + self._current[2]

    @property
    def whole(self) -> bool:
        """Whether all phrases are complete."""
        return len(self.said) == len(self.required.encoded)

    @property
    def may_end(self) -> bool:
        """Whether all phrases are complete if the text ends here."""
        return len(self.said | self.required.phrases.at_end(self.state)) == len(self.required.encoded)

    @cached_property
    def _current(self) -> tuple[int, int, int]:
        """The phrase that the text is in the middle of: its index, and how many of its characters and tokens are said."""
        texts, best = self.required.phrases.texts, (-1, 0, 0)
        places = [*self.required.phrases.begun(self.state.node)]
        if self.state.before == SPACE:
            places += [(index, 0) for index in range(len(texts))]
        for index, length in places:
            if index not in self.said:
                rest = texts[index][length : length + 1].encode()
                pending = len(self.state.pending) if rest.startswith(self.state.pending) else 0
                count = sum(mark <= (length, pending) for mark in self.required.marks[index])
                best = max(best, (index, length, count), key=lambda found: (found[2], found[1]))
        return best

    def wanted(self) -> set[int]:
        """Returns tokens that continue or begin a phrase: those of its spelling, and others that reach as far."""
        index, length, count = self._current
        done = index >= 0 and count == len(self.required.encoded[index])
        tokens = set(self._onward(index, length, count)) if (length or count) and not done else set[int]()
        if count == 0 or done:
            for other, text in enumerate(self.required.phrases.texts):
                if other not in self.said and not (done and other == index):
                    tokens.update(self._begin(other, text))
        return tokens

    def _onward(self, index: int, length: int, count: int, space: str = "") -> Iterator[int]:
        """Yields tokens that continue a phrase at least to the end of the next token of its spelling."""
        text, marks = self.required.phrases.texts[index], self.required.marks[index]
        for end in range(max(length + 1, marks[count][0]), len(text) + 1):
            if (token := self.required.tokens.get(space + text[length:end])) is not None:
                yield token
        if count and marks[count - 1] == (length, len(self.state.pending)):
            yield self.required.encoded[index][count]

    def _begin(self, index: int, text: str) -> Iterator[int]:
        """Yields tokens that begin a phrase."""
        yield self.required.encoded[index][0]
        yield from self._onward(index, 0, 0, " ")
        if is_edge(self.state.before, kind_of(text[0])):
            yield from self._onward(index, 0, 0)

    def after(self, token: int) -> PhraseProgress:
        """Returns the progress after one more token. Phrases may overlap, and a broken-off phrase may begin another one."""
        if token == EOS:
            return PhraseProgress(self.required, START, self.said | self.required.phrases.at_end(self.state))
        state, said = self.required.phrases.read(self.state, self.required.spelled[token])
        return PhraseProgress(self.required, state, self.said | said)


@dataclass(frozen=True)
class _Extended:
    """A hypothesis extended by one token."""

    value: float
    row: int
    """The row within the sentence."""
    token: int
    progress: PhraseProgress


@torch.inference_mode()
def constrained_beam_search(
    model: Seq2Seq[Any, Any],
    source: Tensor,
    lengths: Tensor,
    config: SearchConfig,
    required: Sequence[Required],
    best: int = 1,
    rules: Sequence[Rule] = (),
) -> list[list[Hypothesis]]:
    """Returns the `best` hypotheses of each sentence: first those with all phrases, then the others, each by score.

    The beam is divided among banks; a bank holds the hypotheses that have said the same number of phrase tokens. Places that
    a bank leaves empty go to the other banks, fullest first. Only a hypothesis with all phrases may end, except at the length
    limit. For the other arguments see `nmt.decoding.beam_search.beam_search`.
    """
    device, beam = source.device, config.beam
    penalty, limits = length_penalty(config), length_limits(lengths.to(device), config, rules)
    everyone = torch.arange(len(source), device=device)
    state = model.start(model.encode(source, lengths), beam)
    tokens = torch.full((len(source) * beam,), BOS, device=device)  # (R,)
    history = tokens.new_zeros((len(tokens), 0))  # (R, T)
    scores = torch.full((len(source), beam), -torch.inf, dtype=torch.float64, device=device)
    scores[:, 0] = 0
    progress = [PhraseProgress(items) for items in required for _ in range(beam)]
    finished: list[list[tuple[bool, Hypothesis]]] = [[] for _ in required]
    for length in range(1, int(limits.max()) + 1):
        logits, state = model.step(state, tokens)
        log_probabilities = log_softmax(logits)
        at_limit = limits == length
        unmet = torch.tensor([not item.may_end for item in progress], device=device)
        unmet &= ~at_limit.repeat_interleave(beam)
        log_probabilities[unmet, EOS] = -torch.inf
        apply_rules(rules, log_probabilities, Extension(everyone, history, beam, limits), at_limit)
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
    """Returns the hypotheses of one sentence that end now, each with whether it contains all phrases."""
    return [
        (item.progress.whole, Hypothesis(history[item.row].tolist(), item.value, item.value / divisor, cut))
        for item in candidates
        if item.token == EOS
    ]


def _is_done(finished: Sequence[tuple[bool, Hypothesis]], best: int, reach: float) -> bool:
    """Whether there are enough finished hypotheses with all phrases, and no live one can end above them."""
    return len(finished) >= best and finished[best - 1][0] and finished[best - 1][1].score >= reach


def _candidates(
    scores: Tensor, log_probabilities: Tensor, progress: Sequence[PhraseProgress], beam: int
) -> Iterator[list[_Extended]]:
    """Yields the extensions of each sentence, best first: the best overall, the best of each row, and the wanted tokens."""
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
    """Returns at most `beam` candidates, best first, divided among the banks."""
    if not candidates:
        return []
    banks: list[list[_Extended]] = [[] for _ in range(candidates[0].progress.required.total + 1)]
    for item in candidates:
        banks[item.progress.met].append(item)
    share, more = divmod(beam, len(banks))
    kept: list[_Extended] = []
    spare: list[_Extended] = []
    for number, bank in enumerate(reversed(banks)):  # the remainder of the division goes to the fullest banks
        places = share + (number < more)
        kept += bank[:places]
        spare += bank[places:]
    return sorted([*kept, *spare[: beam - len(kept)]], key=lambda item: -item.value)
