"""The kernels compile for a GPU where there is none, and keep in registers what they compute."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "helpers/compile_kernels.py"


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_no_kernel_spills_on_an_h100(dtype: str) -> None:
    """Compiled for sm_90: no bytes of stack; the tiles of attention fit the shared memory of small cards."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRITON_")}
    paths = os.pathsep.join(str(path) for path in (SCRIPT.parents[2], os.environ.get("PYTHONPATH", "")) if str(path))
    command = [sys.executable, "-W", "ignore", str(SCRIPT), dtype]
    told = subprocess.run(command, env={**kept, "PYTHONPATH": paths}, capture_output=True, text=True, check=True).stdout
    kernels = [line.split() for line in told.splitlines()]
    assert len(kernels) > 30
    assert [line for line in kernels if line[-1] != "0"] == []
    assert [line for line in kernels if "attention" in line[2] and int(line[-2]) > 99 * 1024] == []
