"""No input of a user ends in a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import fuzz


def test_whatever_is_given_ends_without_a_traceback(trained: Path, tmp_path: Path) -> None:
    """Options, files and recipes drawn at random; `python tests/helpers/fuzz.py 2000` draws more, with trainings."""
    for fault in fuzz(40, trained, tmp_path, slow=False):
        pytest.fail(f"{fault.arguments}\n{fault.trace}")
