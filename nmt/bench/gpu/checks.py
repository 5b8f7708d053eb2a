"""Runs the tests marked `gpu` and reports each as it ends."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from time import monotonic

from nmt.bench.gpu.context import Context

_PLAIN = "test_gpu.py"  # tests older than kernels and graphs
_OUTCOME = re.compile(r"\] (PASSED|FAILED|ERROR|SKIPPED) (\S+::.+)$|^(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)\b")


def check_kernels(context: Context) -> None:
    """Tests kernels against float64, graphs against eager work, and search against the plain loop."""
    _check(context, [path for path in _marked() if not path.endswith(_PLAIN)])


def check_all(context: Context) -> None:
    """Runs every GPU test."""
    _check(context, _marked())


def _marked() -> list[str]:
    """Returns the files with GPU tests."""
    return sorted(
        str(path) for path in Path("tests").rglob("test_*.py") if "pytest.mark.gpu" in path.read_text("utf-8")
    )


def _check(context: Context, files: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "-n", "1" if context.quick else "8", *files]
    command += ["-p", "no:cacheprovider", "-W", "default", "--tb=short", "--color=no"]  # other releases warn otherwise
    counts = {"PASSED": 0, "FAILED": 0, "ERROR": 0, "SKIPPED": 0}
    start = monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own tests
        for line in process.stdout or ():
            sys.stdout.write(line)
            if found := outcome(line):
                counts[found[0]] += 1
                if found[0] in ("FAILED", "ERROR"):
                    context.write(f"{found[0].lower()} {found[1].rpartition('/')[2]}", monotonic() - start, "s")
                context.write("tests passed", counts["PASSED"], f"of {sum(counts.values())}")
    context.write("tests that failed", counts["FAILED"] + counts["ERROR"], f"of {sum(counts.values())}")


def outcome(line: str) -> tuple[str, str] | None:
    """Returns how a test ended, and its name, if a line of pytest tells so for the first time."""
    found = _OUTCOME.search(line.strip())
    if found is None or line.startswith(("FAILED", "ERROR")):  # lines of the final summary
        return None
    return (found[1], found[2]) if found[1] else (found[4], found[3])
