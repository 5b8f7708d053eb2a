"""No input of a user ends in a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import fuzz


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_is_given_ends_without_a_traceback(trained: Path, tmp_path: Path, seed: int) -> None:
    """Options, files and recipes drawn at random; `python tests/helpers/fuzz.py 2000` draws more, with trainings."""
    for fault in fuzz(60, trained, tmp_path, seed, slow=False):
        pytest.fail(f"{fault.arguments}\n{fault.trace}")
