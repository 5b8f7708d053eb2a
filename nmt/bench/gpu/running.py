"""Runs steps one after the other, each as a process with a time limit: a failed step costs only its own figures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from nmt.bench.gpu.ledger import Ledger

_TAIL = 600  # bytes of a failed step's output to show
Say = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """A part of a call."""

    name: str
    limit: float
    """Seconds after which the step is killed."""
    least: float
    """Least seconds left for the step to be started."""
    beside: bool = False
    """Whether later steps may begin before it ends, up to the next one that is `alone`."""
    alone: bool = True
    """Whether the step measures time, so that nothing may run beside it."""


@dataclass
class _Running:
    step: Step
    process: subprocess.Popen[bytes]
    log: Path
    start: float
    end: float


class Runner:
    """Runs the steps of one call within a budget."""

    def __init__(self, command: Sequence[str], out: Path, work: Path, budget: float, say: Say) -> None:
        """Prepares a run.

        Args:
            command: the command of a step, without the step's name.
            out: folder of figures and log.
            work: folder for temporary files.
            budget: seconds for all steps together.
            say: receives the start and end of each step.
        """
        self.command, self.out, self.work, self.say = list(command), out, work, say
        self.end = monotonic() + budget
        self.beside: list[_Running] = []

    def run(self, steps: Sequence[Step]) -> None:
        """Runs each step, unless too little time is left for it."""
        try:
            for step in steps:
                if step.alone:
                    self._wait_for_others()
                left = self.end - monotonic()
                if left < step.least:
                    self._note(step, "skipped", 0, f"{max(left, 0):.0f} s left, {step.least:.0f} needed")
                    continue
                running = self._start(step, min(step.limit, left))
                if step.beside:
                    self.beside.append(running)
                else:
                    self._finish(running)
            self._wait_for_others()
        finally:
            for running in self.beside:  # interrupted
                _kill(running.process)

    def _start(self, step: Step, limit: float) -> _Running:
        log = self.work / f"{step.name}.log"
        self.say(f"{step.name} (at most {limit:.0f} s)")
        with log.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603  # our own module
                [*self.command, "--step", step.name],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                process_group=0,  # so that all its children end with it
            )
        return _Running(step, process, log, monotonic(), monotonic() + limit)

    def _wait_for_others(self) -> None:
        while self.beside:
            self._finish(self.beside.pop(0))

    def _finish(self, running: _Running) -> None:
        why = ""
        try:
            code = running.process.wait(max(0.1, running.end - monotonic()))
            how = "failed" if code else "done"
        except subprocess.TimeoutExpired:
            how = "killed"
        except BaseException:
            _kill(running.process)
            raise
        _kill(running.process)  # also ends children that are still running
        seconds = monotonic() - running.start
        text = running.log.read_bytes()
        if how != "done":
            why = f"after {seconds:.0f} s: " + " ".join(text[-_TAIL:].decode(errors="replace").split())[-160:]
        with (self.out / "log.txt").open("ab") as file:
            file.write(f"\n===== {running.step.name}: {how}, {seconds:.1f} s\n".encode() + text)
        self._note(running.step, how, seconds, why)

    def _note(self, step: Step, how: str, seconds: float, why: str = "") -> None:
        Ledger(self.out / "figures.jsonl", step.name).end(how, seconds, why)
        self.say(f"{step.name}: {how}, {seconds:.1f} s {why}".rstrip())


def step_command(call: str, options: Sequence[str]) -> list[str]:
    """Returns the command of a step, without the step's name."""
    return [sys.executable, "-m", "nmt.bench.gpu", call, *options]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and all of its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
