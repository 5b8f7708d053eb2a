"""Prints the tree of a bootstrap's stages: what each does, how far it has come, what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nmt_cli.console import print_table
from nmt_cli.pulse import clock

if TYPE_CHECKING:
    from nmt.report.stages import StageRow, Tree


def print_tree(tree: Tree) -> None:
    """Prints a line for each stage, below the last stage that it needs."""
    rows: list[list[str]] = []
    for row in tree.stages:
        name = f"{'  ' * (row.depth - 1)}└ {row.name}" if row.depth else row.name
        spent = clock(row.seconds) if row.seconds else ""
        left = "" if row.state == "done" else "?" if row.left is None else f"about {clock(row.left)}"
        score = "" if row.score is None else f"{row.score:.1f}"
        rows.append([name, row.does, row.state, row.size, spent, left, score])
    columns = ["stage", "does", "state", "size", "time", "to go", "valid BLEU"]
    print_table(tree.title, columns, rows)


def costs(found: Sequence[StageRow]) -> Iterable[str]:
    """Yields a line for each stage that is not done, and their time together as far as it is known."""
    waiting = [row for row in found if row.state != "done"]
    for row in waiting:
        left = "" if row.left is None else f", about {clock(row.left)}"
        yield f"{row.state}: {row.name}: {row.does}; {row.size}{left}"
    known = [row.left for row in waiting if row.left is not None]
    if len(waiting) > 1 and known:
        unknown = len(waiting) - len(known)
        yield f"together about {clock(sum(known))}" + (f", and {unknown} more of unknown length" if unknown else "")
