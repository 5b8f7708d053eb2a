"""A crew on the machines of a Ray cluster (Moritz et al. 2018): the same results in the same order as on one machine."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar
from uuid import uuid4

from nmt.errors import ConfigError, NmtError
from nmt.runtime.crew import Opening, Pause

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD = 2  # tasks under way for each core or GPU
_AGAIN = 5  # times that a task is tried again after its machine was lost or its process killed


@dataclass(frozen=True)
class ClusterCrew(Generic[Task, Result]):
    """How tasks are done on a cluster; the result of a task must not depend on the others."""

    opening: Opening[Task, Result]
    """Is called once in each process of the cluster; what it reads must be there on every machine."""
    address: str
    """Of the head: `HOST:PORT`, or `auto` for the cluster that this machine belongs to."""
    gpu: bool = False
    """Whether a process takes a GPU instead of a core."""

    def results(self, tasks: Iterable[Task | Pause]) -> Generator[Result]:
        """Yields the results in the order of the tasks; those of a machine that is lost are done again on another.

        Raises:
            ConfigError: Ray is not installed, or there is no such cluster.
            NmtError: a task fails, or its machine is lost or its process killed again and again.
        """
        kind = "GPU" if self.gpu else "CPU"
        taken = {"num_cpus": 0, "num_gpus": 1} if self.gpu else {"num_cpus": 1}
        with _connected(self.address) as ray:
            work = ray.remote(max_calls=0, max_retries=_AGAIN, **taken)(_work)
            opening, token = ray.put(self.opening), uuid4().hex
            waiting: deque[Any] = deque()
            try:
                for task in tasks:
                    if not isinstance(task, Pause):
                        waiting.append(work.remote(token, opening, task))
                    places = int(ray.cluster_resources().get(kind, 0))  # machines come and go
                    if not places:
                        raise ConfigError(f"cluster: {self.address} has no {kind}")
                    while len(waiting) > _AHEAD * places or _is_ready(ray, waiting):
                        yield _result(ray, waiting.popleft())
                while waiting:
                    yield _result(ray, waiting.popleft())
            finally:
                for reference in waiting:
                    ray.cancel(reference, force=True)


@contextmanager
def _connected(address: str) -> Generator[Any]:
    """Connects this process to a cluster within the block, unless it is; yields Ray.

    What Ray prints, as when a machine is lost, goes to stderr: stdout is for results.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray: Any = import_module("ray")
    except ImportError:
        raise ConfigError("a cluster needs Ray on each machine: pip install 'nmt[cluster]'") from None
    with redirect_stdout(sys.stderr):
        if ray.is_initialized():
            yield ray
            return
        try:
            _look_for(address)
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except (OSError, ValueError, RuntimeError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ConfigError(f"cluster: no Ray cluster at {address} ({reason}); start one: ray start --head") from None
        try:
            yield ray
        finally:
            ray.shutdown()


def _look_for(address: str) -> None:
    """Tries to reach the head, as Ray itself would try for minutes.

    Raises:
        OSError: nothing answers there.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def _is_ready(ray: Any, waiting: Sequence[Any]) -> bool:
    """Whether the result of the oldest task can be had without waiting."""
    return bool(waiting) and bool(ray.wait([waiting[0]], timeout=0, fetch_local=False)[0])


def _result(ray: Any, reference: Any) -> Any:
    """Waits for a result."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, NmtError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise NmtError(f"the cluster cannot go on: {str(error).strip().splitlines()[0]}") from None


_opened: dict[str, Callable[[Any], Any]] = {}  # what this process of the cluster does, by the token of a crew


def _work(token: str, opening: Opening[Any, Any], task: Any) -> Any:
    if token not in _opened:
        _opened.clear()
        _opened[token] = opening()
    return _opened[token](task)
