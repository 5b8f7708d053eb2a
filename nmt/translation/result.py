"""What a translator is asked for, and what it gives and counts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from nmt.config.search import SamplingConfig
from nmt.decoding.constrained import Required
from nmt.errors import TextError
from nmt.scoring.tokenization import default_tokenization
from nmt.translation.alignment import Link
from nmt.translation.mbr import Utility, expected_utilities

LongLines = Literal["cut", "split"]


def text_lines(given: object) -> list[str]:
    """One sentence, or any number of them in order, as a list.

    Raises:
        TextError: it is something else.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given, Iterable) and not isinstance(given, (bytes, bytearray, Mapping, Set)):
        lines = list[object](given)
        texts = [line for line in lines if isinstance(line, str)]
        if len(texts) < len(lines):
            place, wrong = next((place, line) for place, line in enumerate(lines) if not isinstance(line, str))
            raise TextError(f"each line must be text (str); number {place} is {type(wrong).__name__}")
        return texts
    raise TextError(f"a sentence (str) or a list of them is translated, got {type(given).__name__}")


@dataclass(frozen=True)
class Translation:
    """One translation of one line."""

    text: str
    log_probability: float
    """Natural logarithm of its probability, end of sentence counted."""
    score: float
    """Log-probability divided by the length penalty."""
    tokens: int
    """Length in tokens, end of sentence counted."""
    alignment: list[Link] | None = None
    """Links (source word, target word) from 0, if they were asked for."""


class TargetScore(NamedTuple):
    """How probable a given translation is."""

    log_probability: float
    tokens: int


@dataclass
class Report:
    """What happened to lines on their way; every cut is counted."""

    lines: int = 0
    blank: int = 0
    source_cut: int = 0
    """Lines longer than the limit, of which only the beginning was read."""
    source_split: int = 0
    """Lines longer than the limit that were translated in parts."""
    target_cut: int = 0
    """Translations that were ended at the length limit."""
    mended: int = 0
    """Lines with control characters or stray line separators, which became spaces."""
    replaced: int = 0
    """Lines with bytes that are not UTF-8."""
    unmet: int = 0
    """Translations that lack a phrase which they were to contain."""
    unknown_prefixes: int = 0
    """Prefixes with characters that the model does not know."""
    left_out: list[str] = field(default_factory=list[str])
    """Phrases to be said that no tokens spell."""
    contradictory: list[str] = field(default_factory=list[str])
    """Phrases to be said that are forbidden."""
    never: list[str] = field(default_factory=list[str])
    """Forbidden phrases that no tokens spell."""

    def add(self, other: Report) -> None:
        """Counts what happened to other lines too."""
        for item in dataclasses.fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    def taken(self) -> Report:
        """What has been counted so far; the counts begin anew."""
        found = dataclasses.replace(self)
        for item in dataclasses.fields(self):
            setattr(self, item.name, [] if isinstance(getattr(self, item.name), list) else 0)
        return found

    def summary(self) -> list[str]:
        """Sentences for the user, none if nothing happened."""
        lines: list[str] = []
        if self.replaced:
            lines.append(f"{self.replaced} lines held bytes that are not UTF-8; those were replaced")
        if self.mended:
            lines.append(f"{self.mended} lines held control characters or stray line separators, which became spaces")
        if self.source_cut:
            lines.append(f"{self.source_cut} lines were longer than the limit; only their beginning was read")
        if self.source_split:
            lines.append(f"{self.source_split} lines were longer than the limit and were translated in parts")
        if self.target_cut:
            lines.append(f"{self.target_cut} translations were ended at the length limit")
        if self.unmet:
            lines.append(f"{self.unmet} translations lack a phrase that they were to contain")
        if self.unknown_prefixes:
            lines.append(
                f"{self.unknown_prefixes} prefixes hold characters that the model does not know; "
                "they stand in the translation as written, but the model read an unknown word there"
            )
        if self.left_out:
            lines.append(f"phrases that the model cannot spell were left out: {_listed(self.left_out)}")
        if self.contradictory:
            lines.append(f"phrases that are forbidden were left out: {_listed(self.contradictory)}")
        if self.never:
            lines.append(f"the model cannot spell, and so never says: {_listed(self.never)}")
        return lines


def _listed(phrases: Sequence[str], shown: int = 5) -> str:
    """Different phrases of a list, with how often they came; the first few by name."""
    counts = Counter(phrases)
    names = [phrase if count == 1 else f"{phrase} ({count} times)" for phrase, count in counts.items()]
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


@dataclass(frozen=True)
class Options:
    """What is wanted beside plain search."""

    sampling: SamplingConfig | None = None
    """Draw `beam` translations instead of searching."""
    mbr: Utility | None = None
    """Rank what was drawn by how much it agrees with the other draws (Eikema and Aziz 2020) instead of by probability."""
    forbidden: Sequence[str] = ()
    """Words or phrases that no translation may contain, as they are written, at the edges of words."""
    constrained: bool = False
    """Lines carry phrases, after tabs, that their translations must contain (Post and Vilar 2018)."""
    word_starts: bool = False
    """Longer words that begin with a phrase, forbidden or to be said, count as it."""
    shortlist: Path | None = None
    """Search among the target tokens that this list has for the words of each line."""
    align: bool = False
    """Give the links between words."""
    replace_unknown: bool = False
    """Put the source word that got most attention in place of an unknown one (Luong et al. 2015b)."""
    long_lines: LongLines = "cut"
    """What to do with a line above the limit."""
    max_source: int = 1024
    """Longest source in tokens."""
    target_language: str | None = None
    """Of a model that translates into several; None: the first of its recipe."""

    @property
    def needs_attention(self) -> bool:
        """Whether attention has to be looked at after the search."""
        return self.align or self.replace_unknown


@dataclass(frozen=True)
class Start:
    """What a translation begins with."""

    tokens: Sequence[int] = ()
    pieces: Sequence[str] = ()
    """As they are written, where tokens do not know some of it."""


@dataclass(frozen=True)
class SearchBatch:
    """Sentences that are searched together."""

    ids: list[list[int]]
    """Source tokens of each, at least one."""
    begins: Sequence[Start] = ()
    """What each translation begins with; nothing if left out."""
    numbers: Sequence[int] = ()
    """Of the sentences, for the draws of sampling."""
    required: Sequence[Required] = ()
    """What each translation must contain; nothing if left out."""

    def only(self, rows: Sequence[int]) -> SearchBatch:
        """Some of the sentences."""
        numbers = self.numbers or range(len(self.ids))
        return SearchBatch(
            [self.ids[row] for row in rows],
            [self.begins[row] for row in rows] if self.begins else (),
            [numbers[row] for row in rows],
            [self.required[row] for row in rows] if self.required else (),
        )


def joined_parts(parts: list[list[Translation]], owners: list[int], lines: int) -> list[list[Translation]]:
    """The translations of each line from those of its parts, rank by rank; a line without any has an empty one."""
    results: list[list[Translation]] = [[] for _ in range(lines)]
    for part, owner in zip(parts, owners, strict=True):
        before = results[owner]
        results[owner] = (
            [_sum(one, two) for one, two in zip(before, part, strict=False)] if before and part else before or part
        )
    return [found or [Translation("", 0.0, 0.0, 0)] for found in results]


def _sum(one: Translation, two: Translation) -> Translation:
    """Two translations in a row; links between words are not kept across the seam."""
    text = f"{one.text} {two.text}".strip()
    total = one.log_probability + two.log_probability
    return Translation(text, total, one.score + two.score, one.tokens + two.tokens)


def by_agreement(drawn: list[Translation], utility: Utility, language: str) -> list[Translation]:
    """Draws without repetition, the one that agrees most with all first; its score is the expected utility."""
    utilities = expected_utilities([item.text for item in drawn], utility, default_tokenization(language))
    ranked = sorted(zip(drawn, utilities, strict=True), key=lambda pair: (-pair[1], -pair[0].log_probability))
    best = {item.text: dataclasses.replace(item, score=value) for item, value in reversed(ranked)}
    return list(best.values())[::-1]
