"""What people see: progress and notes on stderr, results on stdout."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal

import typer

from nmt.runtime.stages import Stage, stages, under_way
from nmt_cli.pulse import clock, pulse
from nmt_cli.standard import silence

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def print_text(text: str = "", err: bool = False) -> None:
    """Prints text of any origin on stdout, or on stderr; what a terminal would obey is made visible.

    All that people see goes through here, or through a table.
    """
    from nmt.corpus.lines import visible

    with pulse.saying(err or sys.stdout.isatty()):
        typer.echo(visible(text), err=err)


def note(text: str) -> None:
    """A line on stderr; where that cannot be written, the work goes on without its notes."""
    try:
        print_text(text, err=True)
    except OSError:
        silence(2)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout, text left and figures right. Nothing is cut, and nothing is read as markup.

    In a pipe lines stay whole however wide. On a terminal text is wrapped. Columns for which there is no room then go into a
    table of their own below, behind the first; what is too wide for that, a signature, stands in lines of its own there.
    """
    from rich.console import Console

    from nmt.corpus.lines import visible_line

    cells = [[visible_line(cell) for cell in column] for column in zip(columns, *rows, strict=True)]
    room = Console(file=sys.stdout).width if sys.stdout.isatty() else None
    blocks = _blocks([_Column(column) for column in cells], room)
    console = Console(file=sys.stdout, width=max(room or 0, *map(_width, blocks)))
    with pulse.saying(room is not None):
        _print_blocks(console, title, blocks, room)


def _print_blocks(console: Console, title: str, blocks: Sequence[Sequence[_Column]], room: int | None) -> None:
    from rich.text import Text

    from nmt.corpus.lines import visible_line

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
    """Cells below a head: how wide they are, and how narrow they can be; figures are never wrapped."""

    def __init__(self, cells: Sequence[str]) -> None:
        from rich.cells import cell_len

        self.cells = cells
        self.text = not all(_FIGURE.match(cell) for cell in cells[1:])
        self.width = max(map(cell_len, cells))
        texts, figures = (cells, []) if self.text else (cells[:1], cells[1:])
        word = max((cell_len(word) for cell in texts for word in cell.split()), default=0)
        self.least = max(map(cell_len, figures), default=0)
        self.least = max(self.least, word if word > _WHOLE else min(word, _FOLDED))

    def wrapped(self, row: int) -> Text:
        """A cell in lines that fit, broken between words and at hyphens."""
        from rich.text import Text

        return Text("\n".join(textwrap.wrap(self.cells[row], self.width)) or " ")


_FOLDED, _WHOLE = 16, 60  # letters of a long name on a line, at least; of a word that is never broken
_FIGURE = re.compile(r"[-+\[(]*[\d.]|$")
_EDGES, _GAP = 2, 3  # of a table, and between its columns


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + _EDGES + _GAP * (len(columns) - 1)


def _blocks(columns: Sequence[_Column], room: int | None) -> list[list[_Column]]:
    """The columns in as few tables as have room, each behind the first column, and narrowed to fit."""
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


_BAR = 12  # characters


PREPARE_ANEW = "what was downloaded is kept, nothing half made; the same command reads the corpus from the beginning"


@contextmanager
def said_when_interrupted(text: str) -> Generator[None]:
    """Says, when ^C ends the work, what goes on from where."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"\nnmt: interrupted; {text}")
        raise


class TrainingDisplay:
    """Shows training: a live line on a terminal, plain lines elsewhere."""

    def __init__(self, regularisers: Sequence[str] = ()) -> None:
        """With the names of what raises the loss in training alone."""
        self._regularisers = regularisers
        self._bleu: float | None = None
        self._loss: float | None = None
        self._budget: float | None = None
        self._begun = (0, 0.0)  # update and seconds at which this process began: an earlier one may have been slower
        self._figures: dict[str, Any] = {}  # of the last line of the log
        self._updates = 0
        self._progress: Any = None
        self._task: Any = None
        self._open = ExitStack()
        self.step: Callable[[], int] = lambda: 0
        """Says how many updates are made."""

    def __enter__(self) -> TrainingDisplay:
        self._open.enter_context(under_way(_Updates(self)))
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (BarColumn(_BAR), TextColumn("{task.description}", markup=False))
            self._progress = self._open.enter_context(Progress(*columns, console=Console(stderr=True)))
            self._task = self._progress.add_task("", total=None)
            self._open.enter_context(pulse.shown_by(self._draw))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def report(self, entry: dict[str, Any]) -> None:
        """Shows one log entry."""
        match entry["kind"]:
            case "start":
                self._start(entry)
            case "initialised":
                self._initialised(entry)
            case "train":
                self._train(entry)
            case "validation":
                self._bleu = entry["bleu"]
                mark = "  best so far" if entry["best"] else ""
                figures = (
                    f"loss {entry['loss']:.3f}  perplexity {entry['perplexity']:.2f}  accuracy {entry['accuracy']:.1%}"
                )
                self._line(f"update {entry['step']}  validation  {figures}  BLEU {entry['bleu']:.2f} (greedy){mark}")
                self._explain(entry["loss"])
            case "skipped":
                self._line(f"update {entry['step']}  skipped: loss or gradient not finite")
            case "spike":
                pairs = ", ".join(map(str, entry["pairs"]))
                self._line(
                    f"update {entry['step']}  loss {entry['loss']:.3f}, usually {entry['usual']:.3f}: pairs {pairs}, ..."
                )
            case "mean":
                figures = f"loss {entry['loss']:.3f}  BLEU {entry['bleu']:.2f} (greedy)"
                self._line(f"mean of the last {entry['checkpoints']} checkpoints  validation  {figures}")
            case "choice":
                scores = f"{entry['best']:.2f} for the best so far, {entry['last']:.2f} for the last"
                self._line(f"{entry['checkpoint']} is the model: validation {entry['metric']} by search {scores}")
            case "damaged":
                self._line(f"{entry['checkpoint']} is damaged ({entry['reason']}); going back to the one before")
            case _:
                pass

    def _start(self, entry: dict[str, Any]) -> None:
        self._begun, self._budget = (entry["step"], entry["seconds"]), entry["budget"]
        self._updates = entry["updates"]
        if self._progress:
            self._progress.update(self._task, description="starting")
        begun = f"going on from update {entry['step']}" if entry["step"] else "starting"
        plan = f"{clock(entry['budget'])} of training" if entry["budget"] else f"{entry['updates']} updates"
        sizes = f"{entry['parameters']:,} parameters, {entry['pairs']:,} pairs, {plan}"
        self._line(f"{begun}: {sizes}, {entry['precision']} on {entry['device']}")
        if field := entry.get("receptive_field"):
            self._line(f"a state sees {field[0]} positions of the source, {field[1]} of the target")
        batches = f"{entry['batches_per_epoch']} batches of {entry['batch_tokens']} tokens an epoch"
        batches += f", {entry['padding']:.1%} padding"
        self._line(batches + (f", {entry['too_long']} pairs left out as too long" if entry["too_long"] else ""))
        if update := entry.get("update"):
            self._line(f"an update is {update}" if ":" not in update else f"updates are {update}")

    def _initialised(self, entry: dict[str, Any]) -> None:
        counts = [("source ", *entry["source"]), ("target ", *entry["target"])]
        if entry["source"] == entry["target"]:
            counts = [("", *entry["source"])]
        carried = ", ".join(
            f"all {total:,} {side}pieces"
            if count == total
            else f"{count:,} of {total:,} {side}pieces (the others are new)"
            for side, count, total in counts
        )
        self._line(f"begins with the weights of {entry['path']} and the embeddings of {carried}")

    def _train(self, entry: dict[str, Any]) -> None:
        self._figures, self._loss, self._updates = entry, entry["loss"], entry["updates"]
        if self._progress:
            self._draw()
            return
        loss, accuracy, speed = self._measured()
        rate = f"lr {entry['learning_rate']:.1e}  norm {entry['gradient_norm']:.2f}"
        left = f"{clock(self.left or 0)} left"
        self._line(f"update {self.count()}  {loss}  {accuracy}  {speed}  {rate}  {left}")

    def _measured(self) -> tuple[str, str, str]:
        entry = self._figures
        speed = f"{entry['tokens_per_second']:,.0f} tok/s"
        return f"loss {entry['loss']:.3f}", f"accuracy {entry['accuracy']:.1%}", speed

    def _draw(self) -> None:
        """The live line, as it is now."""
        left, parts = self.left, [self.count()]
        done, total = float(self._at()), float(self._updates)
        if left is not None:
            loss, *others = self._measured()
            bleu = [] if self._bleu is None else [f"BLEU {self._bleu:.1f}"]
            inside = [str(item) for item in stages() if not isinstance(item, _Updates)][-1:]
            parts += [f"{clock(left)} left", *(inside or [loss, *bleu, *others])]
            done, total = (self._budget - left, self._budget) if self._budget else (done, total)
        while len("  ".join(parts)) + _BAR + 1 > self._progress.console.width and len(parts) > 1:
            parts.pop()  # the least wanted stand last
        self._progress.update(self._task, completed=done, total=total, description="  ".join(parts))

    def _at(self) -> int:
        """Updates made."""
        return max(self.step(), self._figures.get("step", 0))

    def count(self) -> str:
        """Updates made, of how many: until the speed is known a budget says nothing of that."""
        return f"{self._at()}" if self._budget else f"{self._at()}/{self._updates}"

    @property
    def left(self) -> float | None:
        """Seconds to the end; None: that is not known yet."""
        entry, (step, seconds) = self._figures, self._begun
        if not entry:
            return None
        if self._budget:
            return max(0.0, self._budget - entry["seconds"])
        return float((entry["seconds"] - seconds) / (entry["step"] - step) * (self._updates - self._at()))

    def _explain(self, validation: float) -> None:
        """Says once why the loss of training is above that of validation, where it is."""
        if self._regularisers and self._loss is not None and self._loss > validation:
            self._line(
                f"  (training loss is higher than validation loss: {' and '.join(self._regularisers)} count in training alone)"
            )
            self._regularisers = ()

    def _line(self, text: str) -> None:
        from nmt.corpus.lines import visible

        if self._progress:
            self._progress.console.print(visible(text), markup=False, highlight=False, emoji=False)
        else:
            note(text)


class _Updates(Stage):
    """The updates of a training, as its display counts them."""

    def __init__(self, display: TrainingDisplay) -> None:
        super().__init__("training")
        self._display = display

    @property
    def left(self) -> float | None:
        """See `Stage.left`."""
        return self._display.left

    def __str__(self) -> str:
        return f"update {self._display.count()}"
