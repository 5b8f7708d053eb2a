"""The commands of a study: trainings and evaluations, each in a process of its own, some side by side."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from threading import Lock
from time import sleep
from typing import TextIO

from nmt.errors import NmtError
from nmt.runtime.stages import stage

_PATIENCE = 60  # seconds to wait for a training that is about to end


class Commands:
    """Runs the commands of a study in parallel, each in its own process group; signals reach them only through this class."""

    def __init__(self, threads: int) -> None:
        from nmt.runtime.signals import child_environment

        self._environment = {"OMP_NUM_THREADS": str(threads), **child_environment()}  # the user's own number counts
        self._running: set[subprocess.Popen[str]] = set()
        self._lock, self._stopped = Lock(), False

    def call(self, run: Path, *arguments: str) -> str:
        """Runs a command and returns its output; progress goes into a file of the run.

        Raises:
            NmtError: the command failed; gives its last line.
        """
        with (run / "study.log").open("a", encoding="utf-8") as log:
            process = self._start(arguments, log)
            output, _ = process.communicate()
        with self._lock:  # `_stop` goes through them
            self._running.discard(process)
        if process.returncode:
            last = (run / "study.log").read_text(encoding="utf-8").strip().splitlines()[-1:]
            raise NmtError(f"nmt {arguments[0]} failed in {run}: {' '.join(last)}")
        return output

    def wait_for(self, run: Path) -> None:
        """Waits until no process trains in a run: a training whose study was killed saves before it ends.

        Raises:
            NmtError: another process still trains after a minute.
        """
        from nmt.runtime.signals import only_trainer

        for seconds in range(_PATIENCE, -1, -1):
            try:
                with only_trainer(run):
                    return
            except NmtError:
                if self._stopped or not seconds:
                    raise
                sleep(1)

    def follow(self, work: Sequence[Future[None]]) -> None:
        """Waits for all the work. A signal to stop is passed on, and nothing new begins; a second one kills.

        Raises:
            Interrupted: a signal came.
            NmtError: the first failure, after the others have ended.
        """
        from nmt.runtime.signals import Interrupted, stop_signals

        with stop_signals(self._kill) as stop:
            with stage("training and scoring", len(work), "runs") as here:
                while not stop.number and (left := wait(work, timeout=0.2).not_done):
                    here.done = len(work) - len(left)
            if stop.number:
                self._stop(work)
                raise Interrupted(stop.number, "with its trainings")
        for future in work:
            future.result()

    def _start(self, arguments: Sequence[str], log: TextIO) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "nmt_cli", *arguments]
        with self._lock:
            if self._stopped:
                raise NmtError("stopped")
            process = subprocess.Popen(  # noqa: S603 - this program itself
                command, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True, process_group=0
            )
            self._running.add(process)
        return process

    def _stop(self, work: Sequence[Future[None]]) -> None:
        with self._lock:
            self._stopped = True
            for future in work:
                future.cancel()
            for process in self._running:
                process.terminate()
        wait(work)

    def _kill(self) -> None:  # called in a signal handler, perhaps while this thread holds the lock
        for process in tuple(self._running):
            process.kill()
