"""What is shown while a model trains."""

from __future__ import annotations

from typing import Any

import pytest

from nmt_cli.console import TrainingDisplay


def test_the_time_left_is_told_by_the_speed_of_this_process(capsys: pytest.CaptureFixture[str]) -> None:
    plan = {"parameters": 1, "pairs": 1, "budget": None, "precision": "fp32", "device": "cpu"}
    batches = {"batches_per_epoch": 1, "batch_tokens": 1, "padding": 0.0, "too_long": 0}
    start: dict[str, Any] = {"kind": "start", "step": 100, "seconds": 1000.0, "updates": 250, **plan, **batches}
    figures = {"loss": 1.0, "accuracy": 0.5, "tokens_per_second": 1.0, "learning_rate": 0.1, "gradient_norm": 1.0}
    with TrainingDisplay() as display:
        display.report(start)
        display.report({"kind": "train", "step": 150, "seconds": 1050.0, "updates": 250, **figures})
    assert capsys.readouterr().err.splitlines()[-1].endswith("1:40 left")
