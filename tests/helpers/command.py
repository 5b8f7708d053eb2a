"""The command, inside this process or as one of its own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from typer.testing import CliRunner, Result

from nmt_cli.main import app

NMT = [sys.executable, "-m", "nmt_cli"]


def run(*arguments: str | Path, stdin: bytes = b"") -> Result:
    """Runs the command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def start(*arguments: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """The command as a process that ^C and a closed terminal end, also where the shell of the tests ignores these."""
    return subprocess.Popen(
        [*NMT, *arguments],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment(),
        preexec_fn=heed_signals,  # noqa: PLW1509 - no thread runs beside it
    )


def check_dialogue(process: subprocess.Popen[bytes], lines: Sequence[bytes]) -> None:
    """Asserts that a process answers each line before the next goes in, and ends well with its input."""
    assert process.stdin is not None
    assert process.stdout is not None
    for line in lines:
        process.stdin.write(line)
        process.stdin.flush()
        assert select.select([process.stdout], [], [], 60)[0]
        assert process.stdout.readline().endswith(b"\n")
    process.stdin.close()
    assert process.wait(60) == 0


def heed_signals() -> None:
    """Ends a process by ^C and by the end of its terminal, also where a shell or nohup has these ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def environment() -> dict[str, str]:
    """The environment of a bare checkout."""
    root = Path(__file__).parents[2]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(root / part) for part in ("", "cli", "data"))}
