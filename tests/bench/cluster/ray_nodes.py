"""A Ray cluster on this machine, of nodes with one processor each, and the processes of its workers."""

import os
from pathlib import Path
from typing import Any

MEMORY = 80 << 20  # bytes of each node's object store, which nothing is put into


class Nodes:
    """A cluster whose head has no processor, so that every other node may go."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        os.environ.setdefault("RAY_worker_niceness", "0")  # else workers wait for all else that the machine does
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": MEMORY}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self._cluster.address
        self._nodes: list[Any] = []

    def grow(self, count: int) -> None:
        """Add nodes until there are so many."""
        while len(self._nodes) < count:
            self._nodes.append(self._cluster.add_node(num_cpus=1, object_store_memory=MEMORY))
        self._cluster.wait_for_nodes()

    def remove_node_of(self, worker: int) -> None:
        """Remove the node on which a worker runs, with all its processes at once."""
        node = next(node for node in self._nodes if _raylet(node) == _parent(worker))
        self._nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def at_work(self) -> list[int]:
        """Return the processes that have a task in hand."""
        raylets = {_raylet(node) for node in self._nodes}
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if path.read_text().startswith("ray::work") and _parent(int(path.parent.name)) in raylets:
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found

    def end(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()


def _raylet(node: Any) -> int:  # noqa: ANN401 (a node of ray)
    (raylet,) = node.all_processes["raylet"]
    return int(raylet.process.pid)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
