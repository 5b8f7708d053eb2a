"""What a preparation may use of the machine: processes and memory. The result does not depend on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from nmt.runtime.cluster import ClusterCrew
from nmt.runtime.cpu import usable_cores
from nmt.runtime.crew import Crew, Opening

Task = TypeVar("Task")
Result = TypeVar("Result")

_ALONE = 8  # shards that are worked on before other processes are started, which takes a second
_PROCESS = 250_000_000  # bytes that a process takes, with its share of the shards under way
DEFAULT_MEMORY = 2_000_000_000


@dataclass(frozen=True)
class Means:
    """Processes and memory for a preparation."""

    processes: int
    memory: int
    """In bytes, above what Python and its libraries take."""
    say: Callable[[str], None] = lambda _: None
    cluster: str | None = None
    """Address of a Ray cluster whose cores do the work in place of these processes."""

    @classmethod
    def of(
        cls,
        processes: int | None = None,
        memory: int | None = None,
        say: Callable[[str], None] = lambda _: None,
        cluster: str | None = None,
    ) -> Means:
        """Returns these means; by default all cores, but no more than fit into memory, of which 2 GB may be used."""
        memory = memory or DEFAULT_MEMORY
        fit = max(1, (memory - memory // 4) // _PROCESS)
        return cls(processes or min(usable_cores(), fit), memory, say, cluster)

    def crew(
        self, opening: Opening[Task, Result], name: Callable[[Task], str]
    ) -> Crew[Task, Result] | ClusterCrew[Task, Result]:
        """Returns a crew of so many processes, which is only started for work that is worth it, or one on the cluster."""
        if self.cluster is not None:
            return ClusterCrew(opening, self.cluster)
        return Crew(opening, self.processes, _ALONE, name, "if memory ran out, take fewer processes", self.say)
