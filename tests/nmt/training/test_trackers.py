"""Trackers get the numbers of the log, and never end a training."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nmt.errors import ConfigError, NmtError
from nmt.training.events import Event, Skipped, Validated
from nmt.training.trackers import Tracker, check_tracker, trackers
from tiny import make_recipe

VALIDATED = Validated(7, 2.5, 12.0, 0.5, 3.0, None, best=True)
SEEN = {"validation/loss": 2.5, "validation/perplexity": 12.0, "validation/accuracy": 0.5, "validation/bleu": 3.0}


class Library(ModuleType):
    """A tracker that keeps what it gets, and breaks if told."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.got: list[Any] = []
        self.broken = ""

    def _take(self, what: Any) -> None:
        if self.broken == what[0]:
            raise OSError("no\nroom")
        self.got.append(what)
        sys.stdout.write("hello\n")

    def init(self, **settings: Any) -> Library:
        """Opens a run."""
        self._take(("init", settings))
        return self

    def log(self, found: dict[str, float], step: int) -> None:
        """Takes figures."""
        self._take(("log", found, step))

    def finish(self) -> None:
        """Ends the run."""
        self._take(("finish",))


@pytest.fixture(params=["trackio", "wandb"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Library:
    """One of the trackers."""
    found = Library(request.param)
    monkeypatch.setitem(sys.modules, found.__name__, found)
    return found


def test_a_tracker_gets_what_the_log_gets(library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers of updates and validations by step; the run has the name of its folder and goes on under the same identity.

    What the library says does not get among the results.
    """
    for _ in range(2):
        with trackers(make_recipe(), tmp_path / "some", library.__name__, pytest.fail) as report:
            events: list[Event] = [VALIDATED, Skipped(8, [1])]
            for event in events:
                report(event)
    first, *figures = library.got[:3]
    assert figures == [("log", SEEN, 7), ("finish",)]
    assert library.got[3] == first
    assert capsys.readouterr().out == ""
    assert (first[1]["name"], first[1]["resume"], first[1]["config"]["name"]) == ("some", "allow", "tiny")


def test_a_tracker_that_fails_ends_no_training(library: Library, tmp_path: Path) -> None:
    """It is told once; only before the training begins is it an error."""
    said: list[str] = []
    tracker = Tracker(library.__name__, make_recipe(), tmp_path, said.append)
    library.broken = "log"
    for _ in range(3):
        tracker.report(VALIDATED)
    tracker.close()
    assert said == [f"warning: {library.__name__} takes no more figures: OSError: no room"]
    library.broken = "init"
    with pytest.raises(NmtError, match=f"tracker {library.__name__}: OSError: no room"):
        Tracker(library.__name__, make_recipe(), tmp_path, said.append)


def test_unknown_trackers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name; and a known one that is not installed, with what to do."""
    with pytest.raises(ConfigError, match="a tracker must be trackio or wandb, got x"):
        check_tracker("x")
    monkeypatch.setattr("nmt.training.trackers.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="wandb is not installed; pip install wandb"):
        check_tracker("wandb")
