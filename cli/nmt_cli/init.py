"""`nmt init`: a card and a recipe for the files that a person has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nmt.errors import DataError
from nmt_cli.console import note, print_table

if TYPE_CHECKING:
    from nmt_data.starting.start import Start

_NAMED = 5  # files that are not used


def init(
    name: Annotated[
        Path, typer.Argument(metavar="NAME", help="Folder to make, and name of the recipe.", show_default=False)
    ],
    files: Annotated[
        list[Path],
        typer.Option(
            "--from",
            metavar="FILE",
            help="A file, folder or archive with text and translations. Repeatable.",
            show_default=False,
        ),
    ],
    more: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="More files, after --from FILE.", show_default=False),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Language to translate from. Default: guessed.", show_default=False)
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Language to translate into. Default: guessed.", show_default=False)
    ] = None,
) -> None:
    """Write a corpus card and a recipe for files of your own; show ten pairs of them.

    Splits are told by file names (train, valid, dev, test). Nothing is overwritten, and the files stay where they are.
    """
    from nmt.runtime.files import check_output
    from nmt_data.starting.start import CARD, RECIPE, start

    if source and source == target:
        raise DataError(f"--source and --target are both {source}")
    for path in (name / CARD, name / RECIPE):
        if path.exists():
            raise DataError(f"{path}: is there already, and nothing is overwritten; name another folder")
        check_output(path)
    found = start(name, [*files, *(more or ())], source, target)
    name.mkdir(parents=True, exist_ok=True)
    for path, text in ((name / CARD, found.card), (name / RECIPE, found.recipe)):
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    _show(found)
    note(f"{name / CARD} and {name / RECIPE} are yours to change; to train: nmt train {name / RECIPE}")


def _show(found: Start) -> None:
    """Prints the first pairs, and what was found."""
    rows = [[str(number), *pair] for number, pair in enumerate(found.sample, 1)]
    print_table(f"the first of {found.pairs:,} pairs", ["", *found.languages], rows)
    for split, pattern in found.splits.items():
        note(f"{split}: {pattern}")
    if found.unreadable:
        count = f"{found.unreadable:,} lines that are not UTF-8 are left out"
        note(f"{count}; if the file is of Windows, iconv -f WINDOWS-1252 -t UTF-8 FILE keeps them")
    if found.unused:
        names = ", ".join(map(str, found.unused[:_NAMED]))
        note(f"not used: {names}{f' and {len(found.unused) - _NAMED} more' if len(found.unused) > _NAMED else ''}")
