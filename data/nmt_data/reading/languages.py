"""Matches the languages of a card with those that a localisation file names: `de` is `de-DE`, `de_AT` and `DE`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from nmt.corpus.languages import two_letters
from nmt.corpus.lines import visible_line
from nmt.errors import DataError
from nmt_data.reading.pairs import Direction

_CODE = re.compile(r"(?!und|mul|mis|zxx)[a-z]{2,3}(-[a-z0-9]+)*")
"""The code of one language; a file may also name it by a word of its own, or say that it is none."""


def is_same(wanted: str, given: str) -> bool:
    """Whether a language is another, or one of its variants: `de` is `de-DE` and `deu`, but `pt-BR` is not `pt-PT`."""
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
        direction: what is wanted; columns of the card, if there are any, name the sides, and the file may not say otherwise.
        source: the language that the file translates from, if it is known.
        target: the language that it translates into, if it is known.
        sides: what the card may call the two sides.

    Raises:
        DataError: the file is of other languages, or it says nothing of them.
    """
    if direction.columns:
        if sorted(direction.names) != sorted(sides):
            raise DataError(f"{path}: its columns are {' and '.join(sides)}, not {' and '.join(direction.names)}")
        backwards = direction.names[0] == sides[1]
        wanted = _wanted(direction, backwards)
        for side, one, given in zip(sides, wanted, (source, target), strict=True):
            if given and _CODE.fullmatch(_normalised(given)) and not is_same(one, given):
                raise DataError(
                    f"{path}: names {visible_line(given)} as the language of its {side}, and [columns] of the card says {one}; "
                    "mend one of them, or name files of these languages alone"
                )
        return backwards
    if source or target:
        for backwards in (False, True):
            wanted = _wanted(direction, backwards)
            if all(not given or is_same(one, given) for one, given in zip(wanted, (source, target), strict=True)):
                return backwards
    says = "names no languages"
    if source or target:
        says = visible_line(f"is from {source or 'an unnamed language'} to {target or 'another'}")
    raise DataError(
        f"{path}: {says}, and {direction.source} and {direction.target} are wanted; "
        f'say which is which in the card: [columns] {direction.source} = "{sides[0]}", {direction.target} = "{sides[1]}"'
    )


def _wanted(direction: Direction, backwards: bool) -> tuple[str, str]:
    return (direction.target, direction.source) if backwards else (direction.source, direction.target)


def _normalised(language: str) -> str:
    base, dash, variant = language.strip().replace("_", "-").lower().partition("-")
    return f"{two_letters(base)}{dash}{variant}"
