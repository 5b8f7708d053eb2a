"""Prints the tree of a bootstrap's stages: what each does, how far it has come, what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nmt_cli.console import print_table
from nmt_cli.pulse import clock

if TYPE_CHECKING:
    from nmt_data.bootstrap.site import Site
    from nmt_data.bootstrap.survey import Status


def print_tree(site: Site, found: Sequence[Status]) -> None:
    """Prints a line for each stage that is found, below the last stage that it needs."""
    rows: list[list[str]] = []
    by_name = {status.stage.name: status for status in found}
    for stage, depth in site.plan.tree():
        if stage.name not in by_name:
            continue
        status = by_name[stage.name]
        name = f"{'  ' * (depth - 1)}└ {stage.name}" if depth else stage.name
        spent = clock(status.seconds) if status.seconds else ""
        left = "" if status.state == "done" else "?" if status.left is None else f"about {clock(status.left)}"
        score = "" if status.score is None else f"{status.score:.1f}"
        rows.append([name, status.does, status.state, status.size, spent, left, score])
    columns = ["stage", "does", "state", "size", "time", "to go", "valid BLEU"]
    print_table(site.plan.title, columns, rows)


def costs(found: Sequence[Status]) -> Iterable[str]:
    """Yields a line for each stage that is not done, and their time together as far as it is known."""
    waiting = [status for status in found if status.state != "done"]
    for status in waiting:
        left = "" if status.left is None else f", about {clock(status.left)}"
        yield f"{status.state}: {status.stage.name}: {status.does}; {status.size}{left}"
    known = [status.left for status in waiting if status.left is not None]
    if len(waiting) > 1 and known:
        unknown = len(waiting) - len(known)
        yield f"together about {clock(sum(known))}" + (f", and {unknown} more of unknown length" if unknown else "")
