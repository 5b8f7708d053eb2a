"""A crew of processes: results in order, whoever is killed, from any script."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from nmt.errors import NmtError
from nmt.runtime.crew import Crew, Pause

ROOT = Path(__file__).parents[3]


def doubler(folder: str = "") -> Callable[[int], int]:
    """Opens a worker that doubles numbers; at 3 it dies, the first time or, in a folder named so, always."""

    def work(number: int) -> int:
        if folder and number == 3:
            trace = Path(folder) / "died"
            first = not trace.exists()
            trace.touch()
            if first or folder.endswith("always"):
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02 * (number % 2))
        return 2 * number

    return work


@pytest.mark.parametrize(("workers", "alone"), [(1, 0), (2, 0), (2, 3), (2, 99)])
def test_results_come_in_the_order_of_the_tasks(workers: int, alone: int) -> None:
    """However many processes share them, and however few are read ahead."""
    read: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(12):
            read.append(number)
            yield number

    results = Crew(doubler, workers, alone).results(tasks())
    assert next(results) == 0
    assert len(read) <= 2 * workers + 2
    assert list(results) == [2 * number for number in range(1, 12)]


def test_results_do_not_wait_for_tasks_that_do_not_come() -> None:
    """Who asks and waits for the answer before it asks again gets it."""
    answers: list[int] = []

    def tasks() -> Iterator[int | Pause]:
        for number in range(4):
            yield number
            deadline = time.monotonic() + 30
            while len(answers) <= number:
                assert time.monotonic() < deadline
                time.sleep(0.01)
                yield Pause()

    for answer in Crew(doubler, 2).results(tasks()):
        answers.append(answer)
    assert answers == [0, 2, 4, 6]


def test_a_killed_worker_costs_only_time(tmp_path: Path) -> None:
    """Its tasks are done again, and somebody is told; a task that kills twice is named."""
    said: list[str] = []
    crew = Crew(partial(doubler, str(tmp_path)), 2, say=said.append)
    assert list(crew.results(range(8))) == [2 * number for number in range(8)]
    assert said == ["a worker process was killed; its work is done again"]
    always = tmp_path / "always"
    always.mkdir()
    with pytest.raises(NmtError, match="were killed twice at number 3; take fewer"):
        list(
            Crew(partial(doubler, str(always)), 2, name=lambda task: f"number {task}", remedy="take fewer").results(
                [3, 4]
            )
        )


def test_an_error_in_a_worker_is_that_of_the_caller() -> None:
    """It keeps its type, and nothing hangs."""
    with pytest.raises(TypeError):
        list(Crew(doubler, 2).results([1, None, 2]))  # type: ignore[list-item] # that is the error


def test_any_script_may_use_a_crew(tmp_path: Path) -> None:
    """Also one that works as it is imported, which other processes would do again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from functools import partial\nfrom operator import methodcaller\nfrom nmt.runtime.crew import Crew\n"
        "print(*Crew(partial(methodcaller, 'bit_length'), 2).results(range(3)))\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert (done.stdout, done.stderr) == ("0 1 2\n", "")
