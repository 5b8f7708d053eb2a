"""Matches the languages of a card with those that a localisation file names: `de` is `de-DE`, `de_AT` and `DE`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nmt.corpus.lines import visible_line
from nmt.errors import DataError
from nmt_data.reading.pairs import Direction


def is_same(wanted: str, given: str) -> bool:
    """Whether a language is another, or one of its variants: `de` is `de-DE`, but `pt-BR` is not `pt-PT`."""
    first, second = _normalised(wanted), _normalised(given)
    return bool(first and second) and (
        first == second or first.startswith(f"{second}-") or second.startswith(f"{first}-")
    )


def best(wanted: str, given: Iterable[str]) -> str | None:
    """Returns the language that is meant: the same if it is there, else its first variant."""
    found = [language for language in given if is_same(wanted, language)]
    return max(found, key=lambda language: _normalised(language) == _normalised(wanted), default=None)


def is_reversed(
    path: Path, direction: Direction, source: str | None, target: str | None, sides: tuple[str, str]
) -> bool:
    """Whether a file translates against the wanted direction.

    Args:
        path: the file, for errors.
        direction: what is wanted; columns of the card, if there are any, name the sides.
        source: the language that the file translates from, if it is known.
        target: the language that it translates into, if it is known.
        sides: what the card may call the two sides.

    Raises:
        DataError: the file is of other languages, or it says nothing of them.
    """
    if direction.columns:
        if sorted(direction.names) != sorted(sides):
            raise DataError(f"{path}: its columns are {' and '.join(sides)}, not {' and '.join(direction.names)}")
        return direction.names[0] == sides[1]
    if source or target:
        for backwards in (False, True):
            wanted = (direction.target, direction.source) if backwards else (direction.source, direction.target)
            if all(not given or is_same(one, given) for one, given in zip(wanted, (source, target), strict=True)):
                return backwards
    says = "names no languages"
    if source or target:
        says = visible_line(f"is from {source or 'an unnamed language'} to {target or 'another'}")
    raise DataError(
        f"{path}: {says}, and {direction.source} and {direction.target} are wanted; "
        f'say which is which in the card: [columns] {direction.source} = "{sides[0]}", {direction.target} = "{sides[1]}"'
    )


def _normalised(language: str) -> str:
    return language.strip().replace("_", "-").lower()
