"""The page about a bootstrap: its tree of stages, and the curves of its trainings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from nmt.config.reading import explain_errors
from nmt.config.section import Section
from nmt.errors import CheckpointError
from nmt.report.curves import found_in, training_charts
from nmt.report.live import is_run, run_state
from nmt.report.templating import write_page
from nmt.runtime.untrusted import read_object
from nmt.storage.run_folder import RunFolder

TREE = ".tree.json"
"""The file in the folder of a bootstrap's runs that keeps its tree."""


class StageRow(Section):
    """A stage, as the tree shows it."""

    name: str
    depth: int = Field(ge=0, le=1000)
    does: str
    state: str
    """done, begun, again or to do"""
    size: str
    """Updates or lines, with their unit."""
    seconds: float = Field(ge=0)
    left: float | None
    """Seconds still to work; None: unknown."""
    score: float | None
    """Validation BLEU of a training that is done."""


class Tree(Section):
    """The stages of a bootstrap, each behind the last one that it needs."""

    title: str
    stages: tuple[StageRow, ...]


def read_tree(runs: Path) -> Tree:
    """Reads the tree that `nmt bootstrap` keeps.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    try:
        return Tree.model_validate(read_object(runs / TREE), strict=False)
    except ValidationError as error:
        raise CheckpointError(explain_errors(error, Tree, f"{runs / TREE}: ")) from None


def render_stages(runs: Path) -> str:
    """Returns the page about the runs of a bootstrap as text.

    Raises:
        CheckpointError: there is no tree, or it is damaged.
    """
    tree = read_tree(runs)
    trained = {row.name: runs / row.name for row in tree.stages if is_run(runs / row.name)}
    logs = {name: RunFolder(folder).entries() for name, folder in trained.items()}
    done = sum(row.state == "done" for row in tree.stages)
    return write_page(
        "stages.html",
        title=tree.title,
        subtitle=f"{done} of {len(tree.stages)} stages done",
        rows=[_cells(row, trained) for row in tree.stages],
        training=training_charts(logs),
        findings=found_in(logs),
        recipes={name: _text(folder) for name, folder in trained.items()},
    )


def _cells(row: StageRow, trained: dict[str, Path]) -> Sequence[Any]:
    state, size = row.state, row.size
    if state != "done" and row.name in trained:
        live = run_state(row.name, trained[row.name])
        state, size = live.state, f"{live.step:,} of {live.updates:,} updates" if live.updates else size
    name = f"{'   ' * (row.depth - 1)}└ {row.name}" if row.depth else row.name
    left = None if row.state == "done" else row.left
    return name, row.does, state, size, _minutes(row.seconds or None), _minutes(left), row.score


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:,.1f} min"


def _text(folder: Path) -> str:
    try:
        return (folder / "recipe.toml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
