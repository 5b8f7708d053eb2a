"""What people see: progress and notes on stderr, results on stdout."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table


def note(text: str) -> None:
    """A line on stderr."""
    typer.echo(text, err=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout: drawn on a terminal, else lines that stay whole however wide."""
    from rich.console import Console

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200)
    console.print(make_table(title, columns, rows))


def make_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Text left, figures right; markup in the cells means nothing."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class TrainingDisplay:
    """Shows training: a live line on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._bleu: float | None = None
        self._begun = (0, 0.0)  # update and seconds at which this process began: an earlier one may have been slower
        self._progress: Any = None
        self._task: Any = None

    def __enter__(self) -> TrainingDisplay:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            columns = (TextColumn("{task.completed}/{task.total}"), BarColumn(), TextColumn("{task.description}"))
            self._progress = Progress(
                *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)
            )
            self._progress.start()
            self._task = self._progress.add_task("", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()

    def report(self, entry: dict[str, Any]) -> None:
        """Shows one log entry."""
        match entry["kind"]:
            case "start":
                self._start(entry)
            case "train":
                self._train(entry)
            case "validation":
                self._bleu = entry["bleu"]
                mark = "  best so far" if entry["best"] else ""
                figures = (
                    f"loss {entry['loss']:.3f}  perplexity {entry['perplexity']:.2f}  accuracy {entry['accuracy']:.1%}"
                )
                self._line(f"update {entry['step']}  validation  {figures}  BLEU {entry['bleu']:.2f} (greedy){mark}")
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
        self._begun = (entry["step"], entry["seconds"])
        begun = f"going on from update {entry['step']}" if entry["step"] else "starting"
        plan = f"{clock(entry['budget'])} of training" if entry["budget"] else f"{entry['updates']} updates"
        sizes = f"{entry['parameters']:,} parameters, {entry['pairs']:,} pairs, {plan}"
        self._line(f"{begun}: {sizes}, {entry['precision']} on {entry['device']}")
        if field := entry.get("receptive_field"):
            self._line(f"a state sees {field[0]} positions of the source, {field[1]} of the target")
        batches = f"{entry['batches_per_epoch']} batches of {entry['batch_tokens']} tokens an epoch"
        batches += f", {entry['padding']:.1%} padding"
        self._line(batches + (f", {entry['too_long']} pairs left out as too long" if entry["too_long"] else ""))

    def _train(self, entry: dict[str, Any]) -> None:
        speed = f"{entry['tokens_per_second']:,.0f} tok/s"
        figures = f"loss {entry['loss']:.3f}  accuracy {entry['accuracy']:.1%}  {speed}"
        if self._progress:
            bleu = "" if self._bleu is None else f"  BLEU {self._bleu:.1f}"
            self._progress.update(
                self._task, completed=entry["step"], total=entry["updates"], description=figures + bleu
            )
            return
        step, seconds = self._begun
        left = (entry["seconds"] - seconds) / (entry["step"] - step) * (entry["updates"] - entry["step"])
        rate = f"lr {entry['learning_rate']:.1e}  norm {entry['gradient_norm']:.2f}"
        self._line(f"update {entry['step']}/{entry['updates']}  {figures}  {rate}  {clock(left)} left")

    def _line(self, text: str) -> None:
        if self._progress:
            self._progress.console.print(text, markup=False, highlight=False)
        else:
            note(text)
