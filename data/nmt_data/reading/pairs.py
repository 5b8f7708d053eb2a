"""What all readers share: a pair, the direction that is wanted, and the count of what gives no pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nmt.corpus.lines import decode_strict
from nmt.errors import DataError

Pair = tuple[str, str]


@dataclass
class Unreadable:
    """Counts what gives no pair: invalid text, blank lines between the rows of a table, and what nobody has translated."""

    lines: int = 0
    """Lines left out because they are not UTF-8."""
    skip: bool | None = None
    """Whether invalid lines are skipped; None: they are always errors, as in test sets."""
    blank: int = 0
    untranslated: int = 0
    """Entries of a localisation file that have no translation, or only a draft of one."""

    def counts(self) -> dict[str, int]:
        """Returns the number of lines of each kind, if any."""
        kinds = {
            "not UTF-8": self.lines,
            "blank line of a table": self.blank,
            "not translated": self.untranslated,
        }
        return {kind: count for kind, count in kinds.items() if count}

    @property
    def hint(self) -> str:
        """What a person can do about invalid text, to follow an error."""
        return "" if self.skip is None else ", or set data.on_bad_text = 'skip' to leave such lines out"

    def decode(self, line: bytes, where: str) -> str | None:
        """Decodes a line; None: it is to be skipped.

        Raises:
            DataError: it is not UTF-8, and not to be skipped.
        """
        try:
            return decode_strict(line, where)
        except DataError as error:
            if self.skip:
                return None
            raise DataError(f"{error}{self.hint}") from None


@dataclass(frozen=True)
class Direction:
    """The two languages of a pair, and what the card calls their columns."""

    source: str
    target: str
    columns: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def names(self) -> list[str]:
        """The columns of source and target: the codes of the languages, unless the card names others."""
        return [self.columns.get(language, language) for language in (self.source, self.target)]


Reader = Callable[[Path, Direction, Unreadable], Iterator[Pair]]
"""Yields the pairs of one file that holds both languages."""
