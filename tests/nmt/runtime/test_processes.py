"""Processes that share work and put it together again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from command import environment

_GATHERING = r"""
import torch
from nmt.runtime.processes import joined
lines = ["", "a\u2028b", "", "c\0", "d", "\0", ""]
with joined(torch.device("cpu")) as world:
    for count in range(len(lines) + 1):
        share = world.share(lines[:count])
        assert world.gather(share) == lines[:count], (world.rank, count)
"""


@pytest.mark.slow
def test_shares_come_together_in_order() -> None:
    """Also empty lines, and where some processes or all of them have no line."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3", "--no-python"]
    surroundings = {**environment(), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, sys.executable, "-c", _GATHERING]
    done = subprocess.run(command, env=surroundings, timeout=240, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]
