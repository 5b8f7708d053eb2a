"""The training log for other programs: TensorBoard, where it is installed, and a tracker that the user names."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager, redirect_stdout
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nmt.config.paths import real_path
from nmt.config.recipe import Recipe
from nmt.errors import ConfigError, NmtError
from nmt.runtime.files import fingerprint
from nmt.training.events import Event, Reporter, Started, Updated, Validated

_TRACKERS = ("trackio", "wandb")
_PROJECT = "nmt"


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
        if self._writer is not None:
            for name, value in figures(event).items():
                self._writer.add_scalar(name, value, event.step)

    def close(self) -> None:
        """Writes what is still buffered."""
        if self._writer is not None:
            self._writer.close()


class Tracker:
    """Sends the numbers of each log entry to Trackio or Weights & Biases, which have the same interface.

    A training that resumes goes on in its run there. If the tracker fails, the training goes on without it.
    """

    def __init__(self, name: str, recipe: Recipe, folder: Path, say: Callable[[str], None]) -> None:
        """Opens the run.

        Args:
            name: of the library, `trackio` or `wandb`.
            recipe: is shown beside the run.
            folder: of the run; its name is that of the run.
            say: tells that the tracker failed.

        Raises:
            ConfigError: the library is another one, or not installed.
            NmtError: it does not open a run, for example because nobody has logged in.
        """
        check_tracker(name)
        self._name, self._say = name, say
        place = real_path(folder)
        settings: dict[str, Any] = {"project": _PROJECT, "name": place.name, "resume": "allow"}
        if name == "wandb":
            settings |= {"id": fingerprint(str(place)), "dir": str(folder)}
        try:
            with redirect_stdout(sys.stderr):  # where results go these libraries would greet
                self._library: Any = import_module(name)
                self._run: Any = self._library.init(config=recipe.model_dump(mode="json"), **settings)
        except Exception as error:
            raise NmtError(f"tracker {name}: {_in_one_line(error)}") from error

    def report(self, event: Event) -> None:
        """Sends one event."""
        if found := figures(event):
            self._try(lambda: self._run.log(found, step=event.step))

    def close(self) -> None:
        """Sends what is still there and ends the run."""
        self._try(self._library.finish)

    def _try(self, act: Callable[[], object]) -> None:
        if self._run is None:
            return
        try:
            with redirect_stdout(sys.stderr):
                act()
        except Exception as error:  # noqa: BLE001 - a foreign program must not end a training
            self._run = None
            self._say(f"warning: {self._name} takes no more figures: {_in_one_line(error)}")


@contextmanager
def trackers(recipe: Recipe, folder: Path, named: str | None, say: Callable[[str], None]) -> Generator[Reporter]:
    """Opens TensorBoard's log in the folder of a run, and a tracker if one is named; yields what reports to them.

    Raises:
        NmtError: the tracker cannot be used; see `Tracker`.
    """
    with ExitStack() as stack:
        opened: list[TensorBoardLog | Tracker] = [stack.enter_context(closing(TensorBoardLog(folder / "tensorboard")))]
        if named is not None:
            opened.append(stack.enter_context(closing(Tracker(named, recipe, folder, say))))

        def report(event: Event) -> None:
            for tracker in opened:
                tracker.report(event)

        yield report


def check_tracker(name: str) -> None:
    """Refuses a tracker that is not known or not installed.

    Raises:
        ConfigError: says which are, or how to install it.
    """
    if name not in _TRACKERS:
        raise ConfigError(f"a tracker must be {' or '.join(_TRACKERS)}, got {name}")
    if find_spec(name) is None:
        raise ConfigError(f"tracker {name}: {name} is not installed; pip install {name}")


def figures(event: Event) -> dict[str, float]:
    """Returns the numbers of an update or a validation, by names such as `train/loss`; other events have none."""
    if not isinstance(event, Updated | Validated):
        return {}
    numbers = {key: value for key, value in asdict(event).items() if key not in ("step", "best") and value is not None}
    return {f"{event.kind}/{key}": value for key, value in numbers.items()}


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
