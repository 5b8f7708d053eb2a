"""Shows training progress: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, assert_never

from nmt.corpus.lines import visible
from nmt.runtime.stages import Stage, stages, under_way
from nmt_cli.console import note
from nmt_cli.pulse import clock, pulse

if TYPE_CHECKING:
    from nmt.training.events import Event, Initialised, Started, Updated

_BAR = 12  # characters


class TrainingDisplay:
    """Shows training: a live line on a terminal, plain lines elsewhere."""

    def __init__(self, regularisers: Sequence[str] = ()) -> None:
        """Takes the names of settings that raise the loss only in training."""
        self._regularisers = regularisers
        self._bleu: float | None = None
        self._loss: float | None = None
        self._budget: float | None = None
        self._begun = (0, 0.0)  # update and seconds at the start of this process: an earlier one may have been slower
        self._figures: Updated | None = None  # the last figures of the log
        self._updates = 0
        self._progress: Any = None
        self._task: Any = None
        self._open = ExitStack()
        self.step: Callable[[], int] = lambda: 0
        """Returns the number of updates made."""

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

    def report(self, event: Event) -> None:
        """Shows an event."""
        from nmt.training import events

        match event:
            case events.Started():
                self._start(event)
            case events.Initialised():
                self._initialised(event)
            case events.Updated():
                self._train(event)
            case events.Validated():
                self._bleu = event.bleu
                mark = "  best so far" if event.best else ""
                figures = f"loss {event.loss:.3f}  perplexity {event.perplexity:.2f}  accuracy {event.accuracy:.1%}"
                self._line(f"update {event.step}  validation  {figures}  BLEU {event.bleu:.2f} (greedy){mark}")
                self._explain(event.loss)
            case events.Skipped():
                self._line(f"update {event.step}  skipped: loss or gradient not finite")
            case events.Spike():
                pairs = ", ".join(map(str, event.pairs))
                self._line(f"update {event.step}  loss {event.loss:.3f}, usually {event.usual:.3f}: pairs {pairs}, ...")
            case events.Averaged():
                figures = f"loss {event.loss:.3f}  BLEU {event.bleu:.2f} (greedy)"
                self._line(f"mean of the last {event.checkpoints} checkpoints  validation  {figures}")
            case events.Fewer():
                self._line(
                    f"training.average = {event.asked}: the model is the mean of the {event.checkpoints} that are there"
                )
            case events.Chosen():
                scores = f"{event.best:.2f} for the best so far, {event.last:.2f} for the last"
                self._line(f"{event.checkpoint} is the model: validation {event.metric} by search {scores}")
            case events.Damaged():
                self._line(f"{event.checkpoint} is damaged ({event.reason}); going back to the one before")
            case _:
                assert_never(event)

    def _start(self, event: Started) -> None:
        self._begun, self._budget = (event.step, event.seconds), event.budget
        self._updates = event.updates
        if self._progress:
            self._progress.update(self._task, description="starting")
        begun = f"going on from update {event.step}" if event.step else "starting"
        plan = f"{clock(event.budget)} of training" if event.budget else f"{event.updates} updates"
        sizes = f"{event.parameters:,} parameters, {event.pairs:,} pairs, {plan}"
        self._line(f"{begun}: {sizes}, {event.precision} on {event.device}")
        if field := event.receptive_field:
            self._line(f"a state sees {field[0]} positions of the source, {field[1]} of the target")
        batches = f"{event.batches_per_epoch} batches of {event.batch_tokens} tokens an epoch"
        batches += f", {event.padding:.1%} padding"
        self._line(batches + (f", {event.too_long} pairs left out as too long" if event.too_long else ""))
        if update := event.update:
            self._line(f"an update is {update}" if ":" not in update else f"updates are {update}")

    def _initialised(self, event: Initialised) -> None:
        counts = [("source ", *event.source), ("target ", *event.target)]
        if event.source == event.target:
            counts = [("", *event.source)]
        carried = ", ".join(
            f"all {total:,} {side}pieces"
            if count == total
            else f"{count:,} of {total:,} {side}pieces (the others are new)"
            for side, count, total in counts
        )
        self._line(f"begins with the weights of {event.path} and the embeddings of {carried}")

    def _train(self, event: Updated) -> None:
        self._figures, self._loss, self._updates = event, event.loss, event.updates
        if self._progress:
            self._draw()
            return
        loss, accuracy, speed = self._measured(event)
        rate = f"lr {event.learning_rate:.1e}  norm {event.gradient_norm:.2f}"
        left = f"{clock(self.left or 0)} left"
        self._line(f"update {self.count()}  {loss}  {accuracy}  {speed}  {rate}  {left}")

    def _measured(self, event: Updated) -> tuple[str, str, str]:
        speed = f"{event.tokens_per_second:,.0f} tok/s"
        return f"loss {event.loss:.3f}", f"accuracy {event.accuracy:.1%}", speed

    def _draw(self) -> None:
        """Draws the live line."""
        left, parts = self.left, [self.count()]
        done, total = float(self._at()), float(self._updates)
        if left is not None and self._figures:
            loss, *others = self._measured(self._figures)
            bleu = [] if self._bleu is None else [f"BLEU {self._bleu:.1f}"]
            inside = [str(item) for item in stages() if not isinstance(item, _Updates)][-1:]
            parts += [f"{clock(left)} left", *(inside or [loss, *bleu, *others])]
            done, total = (self._budget - left, self._budget) if self._budget else (done, total)
        while len("  ".join(parts)) + _BAR + 1 > self._progress.console.width and len(parts) > 1:
            parts.pop()  # the least important are last
        self._progress.update(self._task, completed=done, total=total, description="  ".join(parts))

    def _at(self) -> int:
        """Returns the number of updates made."""
        return max(self.step(), self._figures.step if self._figures else 0)

    def count(self) -> str:
        """Formats the updates made, and the total unless a budget decides on it."""
        return f"{self._at()}" if self._budget else f"{self._at()}/{self._updates}"

    @property
    def left(self) -> float | None:
        """Seconds to the end; None: not known yet."""
        event, (step, seconds) = self._figures, self._begun
        if event is None:
            return None
        if self._budget:
            return max(0.0, self._budget - event.seconds)
        return float((event.seconds - seconds) / (event.step - step) * (self._updates - self._at()))

    def _explain(self, validation: float) -> None:
        """Explains once why the training loss is above the validation loss, if it is."""
        if self._regularisers and self._loss is not None and self._loss > validation:
            self._line(
                f"  (training loss is higher than validation loss: {' and '.join(self._regularisers)} count in training alone)"
            )
            self._regularisers = ()

    def _line(self, text: str) -> None:
        if self._progress:
            self._progress.console.print(visible(text), markup=False, highlight=False, emoji=False)
        else:
            note(text)


class _Updates(Stage):
    """The stage of training, counted in updates by its display."""

    def __init__(self, display: TrainingDisplay) -> None:
        super().__init__("training")
        self._display = display

    @property
    def left(self) -> float | None:
        """See `Stage.left`."""
        return self._display.left

    def __str__(self) -> str:
        return f"update {self._display.count()}"
