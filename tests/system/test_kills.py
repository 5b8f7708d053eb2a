"""Killed at random instants, over and over: the same bytes in the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kills import FAMILIES, kill

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
def test_random_kills(family: str, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill -9, eleven times a family, in updates, validations and in the middle of saving."""
    paths = [str(ROOT / part) for part in ("", "cli", "data", "tests/helpers")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    tally = kill(family, 11, tmp_path)
    assert tally.kills >= 11
    assert tally.identical == tally.finished > 0
