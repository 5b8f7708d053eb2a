"""Interleaved rounds A B C A B C, each contender in a separate process; the first round is a warm-up and is dropped."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from operator import attrgetter
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Protocol

import torch

from nmt.errors import NmtError, explain_memory
from nmt.runtime.device import peak_memory_mb
from nmt.runtime.stages import counted, stage


class Contender(Protocol):
    """One way to do the work, ready to be timed."""

    def run(self) -> dict[str, Any]:
        """Does the work once; returns its results, at least `tokens`."""
        ...


@dataclass(frozen=True)
class Round:
    """One run of one contender."""

    seconds: float
    cpu_seconds: float
    foreign_load: float
    """Share of the cores that other processes used in the meantime."""
    result: dict[str, Any]

    @property
    def tokens_per_cpu_second(self) -> float:
        """Tokens per CPU second, for a shared machine."""
        return float(self.result["tokens"]) / self.cpu_seconds

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second of wall time."""
        return float(self.result["tokens"]) / self.seconds


@dataclass(frozen=True)
class Measurement:
    """All rounds of one contender, without the first."""

    rounds: list[Round]
    start_seconds: float
    """Time of the setup."""
    peak_memory_mb: float
    first_seconds: float
    """Time of the first round, which does not count: in it code is compiled and captured."""

    @property
    def median(self) -> float:
        """Median tokens per CPU second."""
        return statistics.median(item.tokens_per_cpu_second for item in self.rounds)


def interleave(
    contenders: Mapping[str, Callable[[], Contender]],
    rounds: int,
    threads: int,
    say: Callable[[str], None] = lambda _: None,
    so_far: Callable[[dict[str, Measurement]], None] | None = None,
    excused: type[Exception] = NmtError,
) -> dict[str, Measurement]:
    """Times contenders against each other; one that cannot be set up on this machine is left out.

    Args:
        contenders: picklable functions that set up a contender in its process.
        rounds: number of rounds that count, after one that does not.
        threads: threads of each process.
        say: receives which contenders are left out, and why.
        so_far: receives the outcomes after each round that counts.
        excused: errors for which a contender is left out at any time; other errors end everything.
    """
    ends, processes = _started(contenders, threads)
    starts: dict[str, float] = {}
    taken: dict[str, list[Round]] = {name: [] for name in ends}
    memory: dict[str, float] = {}

    def ask(name: str, order: str) -> Any:
        """Returns the answer of a process; None if it is left out."""
        try:
            if order:
                ends[name].send(order)
            with stage(name if order else f"setting up {name}"):
                return _answer(ends[name])
        except (EOFError, ConnectionError):
            say(f"{name} is left out: its process died")
        except excused as error:
            say(f"{name} is left out: {error}")
        del ends[name]
        return None

    for name in list(ends):
        starts[name] = ask(name, "")
    outcomes: dict[str, Measurement] = {}
    for number in counted(range(rounds + 1), "measuring", rounds + 1, "rounds"):
        for name in list(ends):
            if found := ask(name, "run"):
                taken[name].append(found)
                memory[name] = ask(name, "memory") or 0.0
        outcomes = {
            name: Measurement(taken[name][1:], starts[name], memory[name], taken[name][0].seconds) for name in ends
        }
        if so_far and number:
            so_far(outcomes)
    for end in ends.values():
        end.send("end")
    for process in processes:
        process.join()
    return outcomes


def _started(
    contenders: Mapping[str, Callable[[], Contender]], threads: int
) -> tuple[dict[str, Connection], list[BaseProcess]]:
    """Starts a process for each contender, and returns our ends of the pipes."""
    context = multiprocessing.get_context("spawn")
    ends: dict[str, Connection] = {}
    processes: list[BaseProcess] = []
    for name, make in contenders.items():
        ends[name], theirs = context.Pipe()
        processes.append(context.Process(target=_serve, args=(theirs, make, threads), daemon=True))
        processes[-1].start()
        theirs.close()
    return ends, processes


def ratio(ours: Measurement, theirs: Measurement, clock: bool = False) -> tuple[float, float, float]:
    """Returns median, least and largest per-round ratio of tokens per CPU second, or per second if `clock`."""
    speed = attrgetter("tokens_per_second" if clock else "tokens_per_cpu_second")
    ratios = [speed(one) / speed(two) for one, two in zip(ours.rounds, theirs.rounds, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def _answer(end: Connection) -> Any:
    answer = end.recv()
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _serve(end: Connection, make: Callable[[], Contender], threads: int) -> None:
    """Runs one process: sets the contender up, then runs it on demand."""
    try:
        torch.set_num_threads(threads)
        start = perf_counter()
        with explain_memory():
            contender = make()
        end.send(perf_counter() - start)
        while (order := end.recv()) != "end":
            if order == "memory":
                end.send(peak_memory_mb(torch.device("cpu")))
            else:
                end.send(_timed(contender))
    except (EOFError, BrokenPipeError):  # the parent has gone
        return
    except NmtError as error:
        end.send(error)
    except Exception as error:  # noqa: BLE001  # passed to the waiting process, which raises it
        traceback.print_exc()
        end.send(RuntimeError(f"{type(error).__name__}: {error}"))  # others cannot all be pickled


def _timed(contender: Contender) -> Round:
    wall, cpu, busy = perf_counter(), process_time(), _busy_seconds()
    with explain_memory():
        result = contender.run()
    seconds, cpu_seconds, all_cpu = perf_counter() - wall, process_time() - cpu, _busy_seconds() - busy
    load = max(0.0, all_cpu - cpu_seconds) / (seconds * (os.cpu_count() or 1))
    return Round(seconds, cpu_seconds, load, result)


def _busy_seconds() -> float:
    """Returns the CPU time used by all processes of the machine."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
        user, nice, system = (int(field) for field in first.split()[1:4])
    except (OSError, ValueError):
        return 0.0
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")
