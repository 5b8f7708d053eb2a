"""What a translator is asked for, and what it gives and counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from nmt.alignment import Link
from nmt.config import SamplingConfig
from nmt.mbr import Utility

LongLines = Literal["cut", "split"]


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

    def add(self, other: Report) -> None:
        """Counts what happened to other lines too."""
        for item in dataclasses.fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

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
        return lines


@dataclass(frozen=True)
class Options:
    """What is wanted beside plain search."""

    sampling: SamplingConfig | None = None
    """Draw `beam` translations instead of searching."""
    mbr: Utility | None = None
    """Rank what was drawn by how much it agrees with the other draws (Eikema and Aziz 2020) instead of by probability."""
    forbidden: Sequence[str] = ()
    """Words or phrases that no translation may contain, as they are written."""
    constrained: bool = False
    """Lines carry phrases, after tabs, that their translations must contain (Post and Vilar 2018)."""
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
