"""Console output: progress and notes on stderr, results on stdout."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import typer

from nmt.corpus.lines import visible, visible_line
from nmt_cli.pulse import pulse
from nmt_cli.standard import silence

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def print_text(text: str = "", err: bool = False) -> None:
    """Prints text on stdout or stderr; control characters for a terminal are made visible.

    All output for people goes through here or through a table.
    """
    with pulse.saying(err or sys.stdout.isatty()):
        typer.echo(visible(text), err=err)


def note(text: str) -> None:
    """Prints a line on stderr; if that fails, the work continues without notes."""
    try:
        print_text(text, err=True)
    except OSError:
        silence(2)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table on stdout, with text left and figures right. Nothing is cut or parsed as markup.

    In a pipe each row stays on one line. On a terminal text is wrapped. Columns that do not fit go into a further table below,
    which repeats the first column. A column that is still too wide, such as a signature, is printed one line per row.
    """
    from rich.console import Console

    cells = [[visible_line(cell) for cell in column] for column in zip(columns, *rows, strict=True)]
    room = Console(file=sys.stdout).width if sys.stdout.isatty() else None
    blocks = _blocks([_Column(column) for column in cells], room)
    console = Console(file=sys.stdout, width=max(room or 0, *map(_width, blocks)))
    with pulse.saying(room is not None):
        _print_blocks(console, title, blocks, room)


def _print_blocks(console: Console, title: str, blocks: Sequence[Sequence[_Column]], room: int | None) -> None:
    from rich.text import Text

    console.print(Text(visible_line(title), style="italic"), soft_wrap=True)
    for block in blocks:
        if room is None or _width(block) <= room:
            console.print(_table(block))
            continue
        first, *others = block
        for other in others:
            heads = filter(None, (first.cells[0], other.cells[0]))
            console.print(Text(": ".join(heads)), soft_wrap=True)
            for name, cell in zip(first.cells[1:], other.cells[1:], strict=True):
                console.print(Text(f"  {name}: {cell}"), soft_wrap=True)
        console.print()


class _Column:
    """The cells of a column with its head: its width, and the least width; figures are never wrapped."""

    def __init__(self, cells: Sequence[str]) -> None:
        from rich.cells import cell_len

        self.cells = cells
        self.text = not all(_FIGURE.match(cell) for cell in cells[1:])
        self.width = max(map(cell_len, cells))
        texts, figures = (cells, []) if self.text else (cells[:1], cells[1:])
        word = max((cell_len(word) for cell in texts for word in cell.split()), default=0)
        self.least = max(map(cell_len, figures), default=0)
        self.least = max(1, self.least, word if word > _WHOLE else min(word, _FOLDED))

    def wrapped(self, row: int) -> Text:
        """Wraps a cell that is above the width, between words and at hyphens; marks on letters take no room."""
        from rich.cells import cell_len
        from rich.text import Text

        cell = self.cells[row]
        fits = cell_len(cell) <= self.width
        return Text((cell if fits else "\n".join(textwrap.wrap(cell, self.width))) or " ")


_FOLDED, _WHOLE = 16, 60  # least letters per line of a name; words above this length are never broken
_FIGURE = re.compile(r"[-+\[(]*[\d.]|$")
_EDGES, _GAP = 2, 3  # width of the table's edges, and of the gap between columns


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + _EDGES + _GAP * (len(columns) - 1)


def _blocks(columns: Sequence[_Column], room: int | None) -> list[list[_Column]]:
    """Splits columns into as few tables as possible, each with the first column, and narrows them to fit."""
    first, *others = columns
    blocks = [[first]]
    for column in others:
        taken = sum(item.least + _GAP for item in blocks[-1]) + column.least + _EDGES
        if room is not None and taken > room and len(blocks[-1]) > 1:
            blocks.append([first])
        blocks[-1].append(column)
    for block in blocks:
        while room is not None and _width(block) > room and any(item.width > item.least for item in block):
            max((item for item in block if item.width > item.least), key=lambda item: item.width).width -= 1
    return blocks


def _table(columns: Sequence[_Column]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        side: Literal["left", "right"] = "left" if index == 0 or column.text else "right"
        table.add_column(column.wrapped(0), justify=side, width=column.width, overflow="fold")
    for row in range(1, len(columns[0].cells)):
        table.add_row(*(column.wrapped(row) for column in columns))
    return table


PREPARE_ANEW = "what was downloaded and the stages that were done are kept, nothing half made; the same command goes on"


@contextmanager
def said_when_interrupted(text: str) -> Generator[None]:
    """Prints, when ^C ends the work, how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"\nnmt: interrupted; {text}")
        raise
