"""Which sets of instructions the kernels are tried with."""

from __future__ import annotations

import pytest
from _pytest.mark.structures import ParameterSet

from nmt.runtime.cpu import instructions, paths


def tried_paths() -> list[ParameterSet]:
    """All that this CPU has; those between AVX2 and the best, which take 15 seconds to compile, are for the thorough tests."""
    usual = ("generic", "avx2", instructions().name)
    return [
        pytest.param(path, marks=[] if path.name in usual else [pytest.mark.thorough], id=path.name) for path in paths()
    ]
