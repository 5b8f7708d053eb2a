"""What is shown while a model trains."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from nmt.training.events import Started, Updated, Validated
from nmt_cli.train import regularisers
from nmt_cli.training_display import TrainingDisplay
from tiny import make_recipe

STARTED = Started(100, 1000.0, 0, None, 1, None, "cpu", 1, "fp32", 1, 0, 1, 1, 0.0)
UPDATED = Updated(0, 0, 0, 4.0, 2.0, 0.5, 0.1, 1.0, 12345.0, 0.5, 0.0, 1.0)
VALIDATED = Validated(step=160, loss=5.0, perplexity=2.0, accuracy=0.1, bleu=12.34, chrf2=None, best=True)
UNPLANNED = 1_000_000_000


def _show(step: int, seconds: float, updates: int, budget: float | None, display: TrainingDisplay) -> None:
    display.report(replace(STARTED, updates=updates, budget=budget))
    display.report(replace(UPDATED, step=step, seconds=seconds, updates=updates))


def test_the_time_left_is_told_by_the_speed_of_this_process(capsys: pytest.CaptureFixture[str]) -> None:
    """After resuming, the remaining time is computed from the updates done since the start alone."""
    with TrainingDisplay() as display:
        _show(150, 1050.0, 250, None, display)
    assert capsys.readouterr().err.splitlines()[-1].endswith("1:40 left")


def test_the_time_left_of_a_budget_is_what_is_left_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Updates are not counted against a plan that does not stand yet."""
    with TrainingDisplay() as display:
        _show(150, 1050.0, UNPLANNED, 1200.0, display)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("update 150  loss")
    assert last.endswith("2:30 left")


@pytest.mark.parametrize("budget", [None, 1200.0, 400_000.0])
@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_terminal_shows_the_time_left_whole(
    monkeypatch: pytest.MonkeyPatch, budget: float | None, width: int
) -> None:
    """Whatever the width; what is wanted least makes room."""
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    with TrainingDisplay() as display:
        display.report(VALIDATED)
        _show(150, 1050.0, UNPLANNED if budget else 123_250, budget, display)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    last = text.replace("\r", "\n").rstrip("\n").split("\n")[-1].rstrip()
    assert re.search(r" 150(/123250)?  [\d:]+ left", last), last
    assert len(last) <= width
    assert width in (60, 80) or ("tok/s" in last) == (width == 200)
    assert "None" not in text
    assert "\u2026" not in last


def test_why_training_loss_is_higher_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Where it is, and something in the recipe makes it so."""
    for names, losses, said in ((["dropout"], (3.0, 2.0), 1), ([], (3.0, 2.0), 0), (["dropout"], (4.5, 5.0), 0)):
        with TrainingDisplay(names) as display:
            _show(150, 1050.0, 250, None, display)
            for loss in losses:
                display.report(replace(VALIDATED, loss=loss))
        assert capsys.readouterr().err.count("count in training alone") == said
    assert regularisers(make_recipe(training={"label_smoothing": 0.1, "r_drop": 1.0})) == [
        "label smoothing",
        "R-Drop",
        "dropout",
    ]
    assert regularisers(make_recipe({"dropout": 0.0}, training={"label_smoothing": 0.0})) == []
