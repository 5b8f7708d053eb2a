"""The training log as TensorBoard scalars, where TensorBoard is installed."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nmt.training.events import Event, Started, Updated, Validated


class TensorBoardLog:
    """Writes each number of each log entry; does nothing without TensorBoard (`pip install 'nmt[tensorboard]'`).

    It also does nothing if the folder's name is not UTF-8, which TensorBoard needs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def report(self, event: Event) -> None:
        """Adds one event. A start discards what an earlier start wrote after its checkpoint."""
        if find_spec("tensorboard") is None or not _is_utf8(self._folder):
            return
        if isinstance(event, Started):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TensorBoard's own imports warn of each other
                from torch.utils.tensorboard import SummaryWriter
            self._writer = SummaryWriter(str(self._folder), purge_step=event.step + 1)
        if self._writer is None or not isinstance(event, Updated | Validated):
            return
        for key, value in asdict(event).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and key != "step":
                self._writer.add_scalar(f"{event.kind}/{key}", value, event.step)

    def close(self) -> None:
        """Writes what is still buffered."""
        if self._writer is not None:
            self._writer.close()


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
