"""The kernels against plain loops in double precision: under sanitizers, and for ARM in an emulator."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nmt.runtime.cpu import InstructionSet, instructions
from tried import tried_paths

CHECK = Path(__file__).parents[2] / "kernels" / "check.c"
STRICT = ["-ffp-contract=fast", "-Wall", "-Wextra", "-Werror"]
SANITIZERS = ["-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]  # -g1: a report names lines
ARM, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"


def _checked(compiler: str, options: list[str], program: Path, runner: list[str], rounds: int) -> str:
    """Compiles the checks without a warning, runs them and returns what they say."""
    done = subprocess.run(
        [compiler, *STRICT, *options, str(CHECK), "-lm", "-o", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*runner, str(program), "1", str(rounds)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("path", tried_paths())
def test_no_access_or_arithmetic_is_undefined(path: InstructionSet, tmp_path: Path) -> None:
    """On every set of instructions that this CPU has, where the compiler brings sanitizers."""
    compiler = shutil.which("gcc")
    (tmp_path / "none.c").write_text("int main(void) { return 0; }\n")
    probe = [*SANITIZERS, "-fopenmp", str(tmp_path / "none.c"), "-o", str(tmp_path / "none")]
    if compiler is None or subprocess.run([compiler, *probe], capture_output=True, check=False).returncode:
        pytest.skip("no compiler with sanitizers")
    options = ["-O0", "-fopenmp", *SANITIZERS, *path.options]  # optimised it compiles four times as long
    rounds = 10 if path == instructions() else 3
    assert "checks hold" in _checked(compiler, options, tmp_path / "check", [], rounds)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["-march=armv8.2-a+dotprod"]], ids=["generic", "dot"])
def test_kernels_compute_the_same_on_arm(options: list[str], tmp_path: Path) -> None:
    """With and without the dot products of later CPUs."""
    if not shutil.which(ARM) or not shutil.which(EMULATOR):
        pytest.skip(f"no {ARM} or no {EMULATOR}")
    options = ["-O1", "-static", "-Wno-unknown-pragmas", "-Wno-unused-parameter", *options]
    assert "checks hold" in _checked(ARM, options, tmp_path / "check", [EMULATOR, "-cpu", "max"], 3)
