"""Interleaved rounds A B C A B C, each contender in a process of its own; the first round warms up and is discarded."""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Protocol

import torch

from nmt.errors import NmtError


class Contender(Protocol):
    """One way to do the work, ready to be timed."""

    def run(self) -> dict[str, Any]:
        """Does the work once; returns what it made, at least `tokens`."""
        ...


@dataclass(frozen=True)
class Round:
    """One run of one contender."""

    seconds: float
    cpu_seconds: float
    foreign_load: float
    """Share of the cores that other processes used meanwhile."""
    result: dict[str, Any]

    @property
    def tokens_per_cpu_second(self) -> float:
        """Speed on a shared machine."""
        return float(self.result["tokens"]) / self.cpu_seconds

    @property
    def tokens_per_second(self) -> float:
        """Speed by the clock."""
        return float(self.result["tokens"]) / self.seconds


@dataclass(frozen=True)
class Outcome:
    """All rounds of one contender, without the first."""

    rounds: list[Round]
    start_seconds: float
    peak_memory_mb: float

    @property
    def median(self) -> float:
        """Median tokens per CPU second."""
        return statistics.median(item.tokens_per_cpu_second for item in self.rounds)


def interleave(
    contenders: Mapping[str, Callable[[], Contender]],
    rounds: int,
    threads: int,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Outcome]:
    """Times contenders against each other; one that this machine cannot set up is left out.

    Args:
        contenders: functions that can be pickled and set one up inside its process.
        rounds: rounds that count, after one that does not.
        threads: of each process.
        say: is told who is left out, and why.
    """
    context = multiprocessing.get_context("spawn")
    ends: dict[str, Connection] = {}
    processes: list[Any] = []
    for name, make in contenders.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, make, threads), daemon=True)
        process.start()
        ends[name] = ours
        processes.append(process)
    starts: dict[str, float] = {}
    for name, end in list(ends.items()):
        try:
            starts[name] = _answer(end)
        except NmtError as error:
            say(f"{name} is left out: {error}")
            del ends[name]
    taken: dict[str, list[Round]] = {name: [] for name in ends}
    for _ in range(rounds + 1):
        for name, end in ends.items():
            end.send("run")
            taken[name].append(_answer(end))
    outcomes: dict[str, Outcome] = {}
    for name, end in ends.items():
        end.send("memory")
        outcomes[name] = Outcome(taken[name][1:], starts[name], _answer(end))
        end.send("end")
    for process in processes:
        process.join()
    return outcomes


def ratio(ours: Outcome, theirs: Outcome, clock: bool = False) -> tuple[float, float, float]:
    """Median of the per-round ratios of tokens per CPU second, or by the clock, and its range."""
    speed = attrgetter("tokens_per_second" if clock else "tokens_per_cpu_second")
    ratios = [speed(one) / speed(two) for one, two in zip(ours.rounds, theirs.rounds, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def _answer(end: Connection) -> Any:
    answer = end.recv()
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _serve(end: Connection, make: Callable[[], Contender], threads: int) -> None:
    """The life of one process: set up, then run when told."""
    try:
        torch.set_num_threads(threads)
        start = perf_counter()
        contender = make()
        end.send(perf_counter() - start)
        while (order := end.recv()) != "end":
            if order == "memory":
                end.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
            else:
                end.send(_timed(contender))
    except (EOFError, BrokenPipeError):  # nobody waits any more
        return
    except Exception as error:  # noqa: BLE001  # crosses to the process that waits, which raises it
        end.send(error)


def _timed(contender: Contender) -> Round:
    wall, cpu, busy = perf_counter(), process_time(), _busy_seconds()
    result = contender.run()
    seconds, cpu_seconds, all_cpu = perf_counter() - wall, process_time() - cpu, _busy_seconds() - busy
    load = max(0.0, all_cpu - cpu_seconds) / (seconds * (os.cpu_count() or 1))
    return Round(seconds, cpu_seconds, load, result)


def _busy_seconds() -> float:
    """CPU time that all processes of the machine have used."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
        user, nice, system = (int(field) for field in first.split()[1:4])
    except (OSError, ValueError):
        return 0.0
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")
