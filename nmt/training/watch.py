"""Watches updates: reads their figures from the device some at a time, and reports problems."""

from __future__ import annotations

import torch

from nmt.config.recipe import TrainingConfig
from nmt.corpus.encoded import Ints
from nmt.errors import NmtError
from nmt.training.events import Reporter, Skipped, Spike
from nmt.training.progress import Progress
from nmt.training.updater import Outcome

_MAX_NON_FINITE = 10
_SPIKE = 2.0  # report a loss this many times the running mean; sound trainings reach 1.9
_UNREAD = {"cpu": 1, "cuda": 16}  # updates whose figures may stay on the device


class Watch:
    """Keeps the outcomes of updates until they are added to the progress."""

    def __init__(self, config: TrainingConfig, device: torch.device, report: Reporter) -> None:
        self._config, self._report = config, report
        self._most = _UNREAD[device.type]
        self._unread: list[tuple[int, list[Ints], Outcome]] = []

    def keep(self, step: int, rows: list[Ints], outcome: Outcome) -> None:
        """Stores the outcome of an update on the pairs of these rows."""
        self._unread.append((step, rows, outcome))

    @property
    def is_full(self) -> bool:
        """Whether the stored outcomes should be read."""
        return len(self._unread) >= self._most

    def read(self, progress: Progress) -> None:
        """Reads the stored figures from the device, adds them to the sums of the log, and reports problems.

        Raises:
            NmtError: many updates in a row were not finite.
        """
        unread, self._unread = self._unread, []
        if not unread:
            return
        found = torch.stack([outcome.figures for _, _, outcome in unread]).tolist()
        for (step, rows, outcome), figures in zip(unread, found, strict=True):
            loss, negative, correct, norm, finite = figures
            progress.splits += outcome.splits
            if not finite:
                self._skipped(progress, step, rows)
                continue
            progress.sums.updates += 1
            progress.skipped_in_a_row = 0
            progress.sums.loss += loss
            progress.sums.negative_log_likelihood += negative
            progress.sums.correct += correct
            progress.sums.gradient_norm += norm
            progress.sums.tokens += outcome.tokens
            progress.target_tokens += outcome.tokens
            self.look(progress, step, rows, loss / max(outcome.tokens, 1))

    def look(self, progress: Progress, step: int, rows: list[Ints], loss: float) -> None:
        """Reports the batch of a loss far above the running mean, after the warm-up."""
        settled = progress.usual_loss > 0 and step > max(100, self._config.warmup or 0)
        if settled and loss > _SPIKE * progress.usual_loss:
            self._report(Spike(step, loss, progress.usual_loss, _pairs(rows)))
        progress.usual_loss = loss if progress.usual_loss == 0 else 0.98 * progress.usual_loss + 0.02 * loss

    def _skipped(self, progress: Progress, step: int, rows: list[Ints]) -> None:
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        pairs = _pairs(rows)
        self._report(Skipped(step, pairs))
        if progress.skipped_in_a_row >= _MAX_NON_FINITE:
            raise NmtError(
                f"loss or gradient was not finite in {_MAX_NON_FINITE} updates in a row, last at update "
                f"{step} (training pairs {', '.join(map(str, pairs))}, ...); "
                "lower training.learning_rate, or use training.precision = fp32"
            )


def _pairs(rows: list[Ints]) -> list[int]:
    """Returns the first training pairs of some batches, counted from 1, each once."""
    return [row + 1 for batch in rows for row in list(dict.fromkeys(batch.tolist()))[:5]]
