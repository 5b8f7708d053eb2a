"""What is shown while a model trains."""

from __future__ import annotations

import io
import re

import pytest

from nmt_cli.console import TrainingDisplay
from nmt_cli.train import regularisers
from tiny import make_recipe

PLAN = {"parameters": 1, "pairs": 1, "precision": "fp32", "device": "cpu"}
BATCHES = {"batches_per_epoch": 1, "batch_tokens": 1, "padding": 0.0, "too_long": 0}
FIGURES = {"loss": 4.0, "accuracy": 0.5, "tokens_per_second": 12345.0, "learning_rate": 0.1, "gradient_norm": 1.0}
VALIDATION = {"kind": "validation", "step": 160, "perplexity": 2.0, "accuracy": 0.1, "bleu": 12.34, "best": True}
UNPLANNED = 1_000_000_000


def _show(step: int, seconds: float, updates: int, budget: float | None, display: TrainingDisplay) -> None:
    display.report(
        {"kind": "start", "step": 100, "seconds": 1000.0, "updates": updates, "budget": budget, **PLAN, **BATCHES}
    )
    display.report({"kind": "train", "step": step, "seconds": seconds, "updates": updates, **FIGURES})


def test_the_time_left_is_told_by_the_speed_of_this_process(capsys: pytest.CaptureFixture[str]) -> None:
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
        display.report({**VALIDATION, "loss": 5.0})
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
                display.report({**VALIDATION, "loss": loss})
        assert capsys.readouterr().err.count("count in training alone") == said
    assert regularisers(make_recipe(training={"label_smoothing": 0.1, "r_drop": 1.0})) == [
        "label smoothing",
        "R-Drop",
        "dropout",
    ]
    assert regularisers(make_recipe({"dropout": 0.0}, training={"label_smoothing": 0.0})) == []
