"""A Ray cluster of two nodes on this machine, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

# The head and another node, which a line on standard input kills.
_PROGRAM = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000})
other = cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(other, allow_graceful=False)
    print("killed", flush=True)
cluster.shutdown()
"""


@dataclass(frozen=True)
class TwoNodes:
    """A running cluster."""

    process: subprocess.Popen[str]
    address: str

    def kill_node(self) -> None:
        """Kills the second node and returns when it is gone."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert any(line == "killed\n" for line in self.process.stdout)


@contextmanager
def two_nodes(environment: Mapping[str, str]) -> Generator[TwoNodes]:
    """Starts the cluster and ends it."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**environment, "RAY_USAGE_STATS_ENABLED": "0"},
    )
    assert process.stdout is not None
    yield TwoNodes(process, next(line for line in process.stdout if line[:1].isdigit()).strip())
    process.communicate(timeout=60)
