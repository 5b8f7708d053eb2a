"""Rules about the next token: small functions that change the log-probabilities of a step, composed in a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from nmt.corpus.tokenizer import EOS
from nmt.decoding.lookahead import Lookahead

# B sentences, K beam, R = B * K rows, V vocabulary, T positions so far


@dataclass(frozen=True)
class Extension:
    """The hypotheses that a step extends."""

    sentences: Tensor
    """(B,) indices of the sentences that are still searched."""
    history: Tensor
    """(R, T) tokens so far, without BOS."""
    beam: int
    limits: Tensor | None = None
    """Length limit of each sentence of the whole batch in tokens, end of sentence counted."""

    @property
    def rows(self) -> list[int]:
        """The sentence of each row."""
        return [sentence for sentence in self.sentences.tolist() for _ in range(self.beam)]


class Rule(Protocol):
    """Changes log-probabilities (R, V) in place: -inf forbids."""

    def __call__(self, log_probabilities: Tensor, extension: Extension) -> None:
        """Applies the rule to one step."""
        ...


@dataclass(frozen=True)
class MinimumLength:
    """Requires at least `minimum` tokens, end of sentence not counted."""

    minimum: int

    def __call__(self, log_probabilities: Tensor, extension: Extension) -> None:
        """See `Rule`."""
        if extension.history.shape[1] < self.minimum:
            log_probabilities[:, EOS] = -torch.inf


@dataclass(frozen=True)
class Prefix:
    """Forces each translation to begin with given tokens. Their log-probability counts as usual; then other rules hold."""

    prefixes: Sequence[Sequence[int]]
    """Token ids for each sentence of the batch; empty: no prefix."""
    then: Sequence[Rule] = ()
    """The other rules; they cannot forbid a forced token."""

    def __call__(self, log_probabilities: Tensor, extension: Extension) -> None:
        """See `Rule`."""
        position = extension.history.shape[1]
        begun = [(row, self.prefixes[sentence]) for row, sentence in enumerate(extension.rows)]
        forced = [(row, prefix[position]) for row, prefix in begun if position < len(prefix)]
        rows, tokens = torch.tensor(forced, dtype=torch.long, device=log_probabilities.device).view(-1, 2).unbind(1)
        prices = log_probabilities[rows, tokens]
        for rule in self.then:
            rule(log_probabilities, extension)
        log_probabilities[rows] = -torch.inf
        log_probabilities[rows, tokens] = prices


@dataclass(frozen=True)
class Forbidden:
    """Forbids phrases in a translation, whatever tokens spell them.

    A word is forbidden where it ends, so that "child" does not forbid "children". A hypothesis that says "child" may go on
    with "ren"; it is dropped if the model would rather end the word there. In the last step before the limit it may not say
    "child" at all; with `strict` this holds in every step.
    """

    lookahead: Lookahead
    strict: bool = False
    begins: Sequence[Sequence[int]] = ()
    """The forced beginning of each translation of the batch, which may contain a phrase."""

    def __call__(self, log_probabilities: Tensor, extension: Extension) -> None:
        """See `Rule`."""
        history, forced = extension.history, torch.zeros(len(extension.history), dtype=torch.long)
        if any(self.begins):
            forced = torch.tensor([len(self.begins[sentence]) for sentence in extension.rows])
        states = self.lookahead.after(history, forced.to(history.device))
        close = torch.full_like(states, self.strict, dtype=torch.bool)
        if extension.limits is not None:
            last = extension.limits[extension.sentences] <= history.shape[1] + 2
            close |= last.repeat_interleave(extension.beam)
        banned = self.lookahead.banned(states, close)
        ends = banned.gather(1, log_probabilities.argmax(1, keepdim=True)) & self.lookahead.whole(states)[:, None]
        log_probabilities.masked_fill_(banned | ends, -torch.inf)

    def only(self, rows: Sequence[int]) -> Forbidden:
        """Returns the rule for some translations of the batch."""
        return replace(self, begins=[self.begins[row] for row in rows] if self.begins else ())

    def broken_by(self, tokens: Sequence[int], begin: int = 0) -> bool:
        """Whether a translation contains a phrase after its first `begin` tokens."""
        return bool(self.lookahead.phrases.found((self.lookahead.spelled[token] for token in tokens), begin))


@dataclass(frozen=True)
class NoRepeatedNgram:
    """Forbids repeated sequences of n tokens in a translation (Paulus et al. 2018, section 2.5)."""

    size: int

    def __call__(self, log_probabilities: Tensor, extension: Extension) -> None:
        """See `Rule`."""
        history, before = extension.history, self.size - 1
        if history.shape[1] < self.size:
            return
        windows = history.unfold(1, self.size, 1)  # (R, T - n + 1, n)
        current = history[:, history.shape[1] - before :]  # (R, n - 1)
        rows, places = (windows[:, :, :before] == current[:, None]).all(2).nonzero().unbind(1)
        log_probabilities[rows, windows[rows, places, before]] = -torch.inf


@dataclass(frozen=True)
class RepetitionPenalty:
    """Multiplies the log-probability of tokens said before (Keskar et al. 2019, section 4.1, on log-probabilities)."""

    factor: float

    def __call__(self, log_probabilities: Tensor, extension: Extension) -> None:
        """See `Rule`."""
        said = log_probabilities.gather(1, extension.history)
        log_probabilities.scatter_(1, extension.history, said * self.factor)
