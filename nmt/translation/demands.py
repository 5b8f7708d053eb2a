"""Forbidden and required phrases, from text to the form that search needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch

from nmt.corpus.tokenizer import EOS, Tokenizer
from nmt.decoding.constrained import NOTHING, Required
from nmt.decoding.lookahead import Lookahead
from nmt.decoding.phrases import Phrases
from nmt.decoding.rules import Forbidden
from nmt.errors import ConfigError
from nmt.translation.result import Report

_LONGEST = 1000  # characters of a forbidden phrase


class Demands:
    """Converts phrases for search, and reports those that no tokens can spell."""

    def __init__(self, tokenizer: Tokenizer, clean: Callable[[str], str], starts: bool) -> None:
        """Takes the target tokenizer and how to treat text.

        Args:
            tokenizer: of the target.
            clean: normalises a line as in training.
            starts: whether longer words that begin with a phrase also match.
        """
        self._tokenizer, self._clean, self._starts = tokenizer, clean, starts

    @cached_property
    def _tokens(self) -> dict[str, int]:
        """The tokens by their text."""
        every = enumerate(self._tokenizer.spelled)
        return {item: token for token, item in every if isinstance(item, str) and token > EOS}

    def forbidden(self, phrases: Sequence[str], device: torch.device, report: Report) -> Forbidden | None:
        """Returns the rule that forbids these phrases; None if there are none. Reports phrases that no tokens can spell.

        Raises:
            ConfigError: a phrase is blank or too long.
        """
        texts = [self._text(phrase) for phrase in phrases]
        if not all(texts):
            raise ConfigError("a forbidden phrase is blank; leave it out")
        if (longest := max(map(len, texts), default=0)) > _LONGEST:
            raise ConfigError(f"a forbidden phrase has {longest:,} characters; the most are {_LONGEST:,}")
        report.never += [text for text in texts if not self._is_spelled(text)]
        return Forbidden(Lookahead(Phrases(texts, self._starts), self._tokenizer.spelled, device)) if texts else None

    def of_lines(
        self, lines: Sequence[str], constrained: bool, forbidden: Forbidden | None, report: Report
    ) -> tuple[Sequence[str], list[Required]]:
        """Lines without the phrases that stand after tabs, if they carry some, and what their translations must say."""
        if not constrained or not lines:
            return lines, [NOTHING] * len(lines)
        lines, phrases = zip(*(line.partition("\t")[::2] for line in lines), strict=True)
        return lines, [self.required(text, forbidden, report) for text in phrases]

    def required(self, text: str, forbidden: Forbidden | None, report: Report) -> Required:
        """Returns the phrases that a translation must contain, given between tabs; reports impossible and forbidden ones."""
        texts = [phrase for phrase in map(self._text, text.split("\t")) if phrase]
        spelled = [phrase for phrase in texts if self._is_spelled(phrase)]
        report.left_out += [phrase for phrase in texts if phrase not in spelled]
        allowed = [phrase for phrase in spelled if not (forbidden and forbidden.lookahead.phrases.found([phrase]))]
        report.contradictory += [phrase for phrase in spelled if phrase not in allowed]
        if not allowed:
            return NOTHING
        phrases, encoded = Phrases(allowed, self._starts), self._tokenizer.encode(allowed)
        return Required(phrases, encoded, self._tokenizer.spelled, self._tokens)

    def _text(self, phrase: str) -> str:
        return " ".join(self._tokenizer.normalized(self._clean(phrase)).split())

    def _is_spelled(self, phrase: str) -> bool:
        (tokens,) = self._tokenizer.encode([phrase])
        return bool(Phrases([phrase]).found(self._tokenizer.spelled[token] for token in tokens))
