"""Options, results and counts of a translator."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from nmt.config.search import SamplingConfig
from nmt.decoding.constrained import Required
from nmt.errors import ConfigError
from nmt.scoring.tokenization import default_tokenization
from nmt.translation.alignment import Link
from nmt.translation.mbr import Utility, expected_utilities

LongLines = Literal["cut", "split"]


@dataclass(frozen=True)
class Translation:
    """One translation of one line."""

    text: str
    log_probability: float
    """Natural logarithm of the probability, end of sentence counted."""
    score: float
    """Log-probability divided by the length penalty."""
    tokens: int
    """Length of each hypothesis in tokens, end of sentence counted."""
    alignment: list[Link] | None = None
    """Links (source word, target word) from 0; None unless asked for."""
    cut: bool = False
    """Whether it was ended by force at the length limit, or only the beginning of the line was read."""


class TargetScore(NamedTuple):
    """The log-probability of a given translation, and its length in tokens."""

    log_probability: float
    tokens: int


@dataclass
class Report:
    """Counts of what was done to lines: cuts, repairs and unmet demands."""

    lines: int = 0
    blank: int = 0
    source_cut: int = 0
    """Lines above the length limit, of which only the beginning was read."""
    source_split: int = 0
    """Lines above the length limit that were translated in parts."""
    target_cut: int = 0
    """Translations that were ended by force at the length limit."""
    mended: int = 0
    """Lines with control characters or stray line separators, which were replaced by spaces."""
    replaced: int = 0
    """Lines with bytes that are not UTF-8."""
    undrawn: int = 0
    """Lines with characters that a model that reads pictures cannot be shown."""
    redrawn: int = 0
    """Lines drawn otherwise than on the computer that trained the model."""
    unfound: int = 0
    """Lines, or parts of split lines, for which the search found no translation; it is empty."""
    unmet: int = 0
    """Translations that lack a required phrase."""
    unknown_prefixes: int = 0
    """Prefixes with characters that the model does not know."""
    left_out: list[str] = field(default_factory=list[str])
    """Required phrases that no tokens spell."""
    contradictory: list[str] = field(default_factory=list[str])
    """Required phrases that are also forbidden."""
    never: list[str] = field(default_factory=list[str])
    """Forbidden phrases that no tokens spell."""

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Report:
        """Returns the counts that a file holds; what is no count is left out."""
        fresh = cls()
        kinds = {item.name: type(getattr(fresh, item.name)) for item in dataclasses.fields(cls)}
        kept = {name: value for name, value in found.items() if type(value) is kinds.get(name)}
        return dataclasses.replace(fresh, **kept)

    def add(self, other: Report) -> None:
        """Adds the counts of another report; what is never said is so for every line, and named once."""
        for item in dataclasses.fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))
        self.never = list(dict.fromkeys(self.never))

    def taken(self) -> Report:
        """Returns the counts so far and resets them."""
        found = dataclasses.replace(self)
        for item in dataclasses.fields(self):
            setattr(self, item.name, [] if isinstance(getattr(self, item.name), list) else 0)
        return found

    def numbers(self) -> dict[str, int]:
        """Returns the counts by name; lists of phrases are left out."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, int)}

    def summary(self) -> list[str]:
        """Returns sentences for the user; none if there is nothing to tell."""
        counts = ((getattr(self, name), sentence) for name, sentence in _SENTENCES.items())
        lines = [sentence.format(count) for count, sentence in counts if count]
        if self.left_out:
            lines.append(f"phrases that the model cannot spell were left out: {_listed(self.left_out)}")
        if self.contradictory:
            lines.append(f"phrases that are forbidden were left out: {_listed(self.contradictory)}")
        if self.never:
            lines.append(f"the model cannot spell, and so never says: {_listed(self.never)}")
        return lines


_SENTENCES = {
    "replaced": "{} lines held bytes that are not UTF-8; those were replaced",
    "mended": "{} lines held control characters or stray line separators, which became spaces",
    "source_cut": "{} lines were longer than the limit; only their beginning was read",
    "source_split": "{} lines were longer than the limit and were translated in parts",
    "target_cut": "{} translations were ended at the length limit",
    "undrawn": "{} lines held characters that this computer or the model's font cannot draw, so it saw them as boxes or apart",
    "redrawn": "this computer draws letters otherwise than the one that trained the model (another FreeType), "
    "so translations may be worse",
    "unfound": "{} translations are empty, as nothing that is allowed was found",
    "unmet": "{} translations lack a phrase that they were to contain",
    "unknown_prefixes": "{} prefixes hold characters that the model does not know; "
    "they stand in the translation as written, but the model read an unknown word there",
}


def _listed(phrases: Sequence[str], shown: int = 5) -> str:
    """Lists the different phrases with their counts; only the first few are named."""
    counts = Counter(phrases)
    names = [phrase if count == 1 else f"{phrase} ({count} times)" for phrase, count in counts.items()]
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


@dataclass(frozen=True)
class Options:
    """Options beyond plain search."""

    sampling: SamplingConfig | None = None
    """Draw `beam` translations instead of searching."""
    mbr: Utility | None = None
    """Rank samples by how much they agree with the others (Eikema and Aziz 2020) instead of by probability."""
    forbidden: Sequence[str] = ()
    """Words or phrases that no translation may contain, as text; they match at word edges."""
    constrained: bool = False
    """Lines carry phrases after tabs that their translations must contain (Post and Vilar 2018)."""
    word_starts: bool = False
    """Longer words that begin with a forbidden or required phrase also match it."""
    shortlist: str | Path | None = None
    """Search only the target tokens that this shortlist has for each line."""
    align: bool = False
    """Return links between words."""
    replace_unknown: bool = False
    """Replace unknown tokens by the source word with most attention (Luong et al. 2015b)."""
    long_lines: LongLines = "cut"
    """What to do with a line above the limit."""
    max_source: int = 1024
    """Length of the longest source in tokens."""
    target_language: str | None = None
    """Target language of a model with several; None: the first of its recipe."""

    def __post_init__(self) -> None:
        for name, allowed in (("mbr", (None, *get_args(Utility))), ("long_lines", get_args(LongLines))):
            if (value := getattr(self, name)) not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(filter(None, allowed))}, got {value}")
        if isinstance(self.forbidden, str):
            raise ConfigError(f"forbidden must be a list of phrases, got {self.forbidden!r}")
        if self.mbr and self.sampling is None:
            raise ConfigError("mbr chooses among draws: give sampling too, such as SamplingConfig(epsilon=0.02)")

    @property
    def needs_attention(self) -> bool:
        """Whether attention is needed after the search."""
        return self.align or self.replace_unknown


@dataclass(frozen=True)
class Start:
    """The forced beginning of a translation."""

    tokens: Sequence[int] = ()
    pieces: Sequence[str] = ()
    """The pieces as written, if the tokens include unknown ones."""


@dataclass(frozen=True)
class SearchBatch:
    """Sentences that are searched together."""

    ids: list[list[int]]
    """Source tokens of each sentence, at least one."""
    begins: Sequence[Start] = ()
    """Forced beginning of each translation; empty: none."""
    numbers: Sequence[int] = ()
    """Number of each sentence, for the draws of sampling."""
    required: Sequence[Required] = ()
    """Phrases that each translation must contain; empty: none."""

    def only(self, rows: Sequence[int]) -> SearchBatch:
        """Returns the batch of some of the sentences."""
        numbers = self.numbers or range(len(self.ids))
        return SearchBatch(
            [self.ids[row] for row in rows],
            [self.begins[row] for row in rows] if self.begins else (),
            [numbers[row] for row in rows],
            [self.required[row] for row in rows] if self.required else (),
        )


@dataclass(frozen=True)
class Encoded:
    """Encoded lines, or encoded parts of split lines."""

    ids: list[list[int]]
    """Tokens of each part; empty for a blank line."""
    owners: list[int]
    """The line of each part."""
    texts: list[str]
    """The text of each part."""
    cut: list[bool]
    """Whether only the beginning of a part is read."""


def joined_parts(
    parts: list[list[Translation]], source: Encoded, lines: int, words: Sequence[int] | None = None
) -> list[list[Translation]]:
    """Joins the translations of the parts of each line, rank by rank; a line without parts gets an empty translation.

    Args:
        parts: translations of each part, best first.
        source: the parts.
        lines: number of lines.
        words: number of source words of each part, if words are linked.
    """
    results: list[list[Translation]] = [[] for _ in range(lines)]
    passed = [0] * lines  # source words of the parts before
    for place, owner in enumerate(source.owners):
        before, part = results[owner], parts[place]
        if source.cut[place]:
            part = [dataclasses.replace(item, cut=True) for item in part]
        results[owner] = (
            [_sum(one, two, passed[owner]) for one, two in zip(before, part, strict=False)]
            if before and part
            else before or part
        )
        passed[owner] += words[place] if words else 0
    nothing = Translation("", 0.0, 0.0, 0, None if words is None else [])
    return [found or [nothing] for found in results]


def _sum(one: Translation, two: Translation, passed: int) -> Translation:
    """Joins two translations; links of the second are moved behind `passed` source words and the words of the first."""
    text = f"{one.text} {two.text}".strip()
    total = one.log_probability + two.log_probability
    links = None
    if one.alignment is not None and two.alignment is not None:
        said = len(one.text.split())
        links = [*one.alignment, *((source + passed, target + said) for source, target in two.alignment)]
    return Translation(text, total, one.score + two.score, one.tokens + two.tokens, links, one.cut or two.cut)


def by_agreement(drawn: list[Translation], utility: Utility, language: str) -> list[Translation]:
    """Sorts different samples by agreement with all, best first; the score becomes the expected utility."""
    utilities = expected_utilities([item.text for item in drawn], utility, default_tokenization(language))
    ranked = sorted(zip(drawn, utilities, strict=True), key=lambda pair: (-pair[1], -pair[0].log_probability))
    best = {item.text: dataclasses.replace(item, score=value) for item, value in reversed(ranked)}
    return list(best.values())[::-1]
