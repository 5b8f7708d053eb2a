"""A finding: one line about the machine, the recipe or the corpus, with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from nmt.errors import NmtError

Level = Literal["ok", "advice", "problem"]
"""As it should be; worth a look; a training would fail."""
Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """What was found in one place."""

    level: Level
    topic: str
    """One or two words: what was looked at."""
    text: str
    remedy: str = ""
    """What to do; empty where nothing is to be done, or where the text of an error says it."""
    figures: Figures = field(default_factory=dict[str, Any])
    """The numbers behind the text, for scripts."""

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields for JSON."""
        return asdict(self)

    @property
    def line(self) -> str:
        """The finding and its remedy in one line."""
        return f"{self.text}; {self.remedy}" if self.remedy else self.text


def ok(topic: str, text: str, **figures: Any) -> Finding:
    """Returns a finding that all is well."""
    return Finding("ok", topic, text, figures=figures)


def advice(topic: str, text: str, remedy: str = "", **figures: Any) -> Finding:
    """Returns a finding that is worth a look, though a training would run."""
    return Finding("advice", topic, text, remedy, figures)


def problem(topic: str, text: str, remedy: str = "", **figures: Any) -> Finding:
    """Returns a finding for which a training would fail."""
    return Finding("problem", topic, text, remedy, figures)


def tried(topic: str, work: Callable[[], object]) -> Iterator[Finding]:
    """Does a check that training makes too, and yields its error as a problem; nothing if it passes."""
    try:
        work()
    except NmtError as error:
        yield refused(topic, error)


def refused(topic: str, error: NmtError) -> Finding:
    """Returns the problem that an error tells, in one line."""
    return problem(topic, "; ".join(line.strip() for line in str(error).splitlines()))


def fails(findings: Iterable[Finding]) -> bool:
    """Whether a training would fail."""
    return any(finding.level == "problem" for finding in findings)


def size(count: float) -> str:
    """Formats bytes in MB or GB."""
    return f"{count / 1e9:,.1f} GB" if count >= 999.5e6 else f"{count / 1e6:,.0f} MB"
