"""A program: a store on three nodes with a data root each; nodes are killed and come back. Prints what it saw as JSON.

Run by test_nodes.py in a process of its own, because it connects to Rays of its own, one after the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster

import kv
from raft_actors.errors import StartTimeout
from tests.cluster.world import FAST, REPOSITORY, all_running, eventually, kill_process

NAME = "nodes"
RACKS = ("a", "b", "c")
OPTIONS: dict[str, Any] = {
    "members": 3,
    "data_dir": "$NODE_DATA",
    "placement": [{"rack": rack} for rack in RACKS],
    "config": kv.Config(raft=replace(FAST, snapshot_log_bytes=2_000)),
}
# A Ray that is started here is nobody else's: it does not become the machine's "current" one.
ray._private.utils.write_ray_address = lambda *_, **__: None
ray._common.utils.reset_ray_address = lambda *_, **__: None


class Nodes:
    """Nodes of one Ray cluster by their racks; the first one added is the head, and this process's."""

    def __init__(self, root: Path, racks: tuple[str, ...]) -> None:
        self._root = root
        self._cluster = Cluster()
        self._nodes: dict[str, Any] = {}
        for rack in racks:
            self.add(rack)
        ray.init(address=self._cluster.address, log_to_driver=False, logging_level="ERROR")

    @property
    def address(self) -> str:
        """For other drivers."""
        return str(self._cluster.address)

    def add(self, rack: str) -> None:
        """A node with this label, its own data root, and our packages."""
        environment = {"NODE_DATA": str(self._root / rack), "PYTHONPATH": str(REPOSITORY)}
        node = self._cluster.add_node(
            num_cpus=1,
            labels={"rack": rack},
            env_vars=environment,
            include_dashboard=False,
            object_store_memory=80 * 1024 * 1024,
        )
        self._nodes[rack] = node

    def kill(self, rack: str) -> None:
        """SIGKILL for all processes of the node."""
        self._cluster.remove_node(self._nodes.pop(rack), allow_graceful=False)

    def kill_all(self) -> None:
        """SIGKILL for everything, members included."""
        members = kv.status(NAME).members
        kill_process(*(pid for member in members for pid in (member.pid, member.server_pid) if _alive(pid)))
        ray.shutdown()
        for rack in reversed(list(self._nodes)):
            self.kill(rack)

    def close(self) -> None:
        """An orderly end."""
        ray.shutdown()
        self._cluster.shutdown()


def _alive(pid: int | None) -> bool:
    return pid is not None and psutil.pid_exists(pid)


def identities() -> list[str | None]:
    """The members' directories."""
    return [member.directory_id for member in kv.status(NAME).members]


def directories(root: Path) -> dict[str, list[str]]:
    """What lies on each node."""
    return {rack: sorted(os.listdir(root / rack / NAME)) for rack in RACKS}


def main(root: Path) -> dict[str, Any]:
    """The story; what is returned is what the tests judge."""
    saw: dict[str, Any] = {}
    nodes = Nodes(root, RACKS)
    with kv.start(NAME, **OPTIONS) as store:
        store.put_many({f"k{number}": number for number in range(100)})
        eventually(lambda: all_running(NAME))
        saw["identities"] = identities()
        for number in range(20):
            store.put(f"grow{number}", "x" * 500)
        eventually(lambda: all(member.snapshot_index for member in kv.status(NAME).members))
        saw["directories"] = directories(root)

        nodes.kill("c")
        store.put("while c is away", 1, timeout_s=20.0)
        nodes.add("c")
        members = eventually(lambda: all_running(NAME))
        saw["identities after a node's death"] = [member.directory_id for member in members]
        saw["incarnation of c"] = members[2].incarnation
        last = store.put("c is back", 2, timeout_s=20.0)
        eventually(lambda: len({member.last_applied for member in kv.status(NAME).members}) == 1)
        nodes.kill_all()

    nodes = Nodes(root, ("a",))
    try:
        kv.start(NAME, **OPTIONS, start_timeout_s=8)
    except StartTimeout as refusal:
        saw["with one node of three"] = str(refusal)
        saw["waiting for"] = sorted(refusal.waiting_for)
    nodes.add("b")
    with kv.start(NAME) as store:
        saw["with two nodes of three"] = len(store.scan("k", timeout_s=20.0)), store.get("c is back", timeout_s=20.0)
        saw["snapshots of all"] = all(m.snapshot_index for m in kv.status(NAME).members if m.state == "running")
        saw["a later version is higher"] = store.put("more", 3, timeout_s=20.0) > last
    nodes.add("c")
    eventually(lambda: len(all_running(NAME)) == 3)
    saw["identities in the end"] = identities()
    saw["directories in the end"] = directories(root)

    with kv.connect(NAME) as store:
        nodes.kill("c")
        kv.membership(NAME).replace(2, timeout_s=60.0)
        saw["on two nodes"] = directories(root)
        replaced = eventually(lambda: all_running(NAME))
        saw["another directory"] = replaced[2].directory_id != saw["identities in the end"][2]
        store.put("replaced", 4, timeout_s=20.0)
        nodes.add("c")  # with the directory that was replaced
        nodes.kill_all()
    nodes = Nodes(root, RACKS)
    with kv.start(NAME, **OPTIONS) as store:
        saw["after the replacement"] = len(store.scan("k", timeout_s=20.0)), store.get("replaced", timeout_s=20.0)
        # A keeper that could not read the new one in time may open the old one first, which counts nowhere and gives
        # way when the keeper next looks at such (STRAYS_INTERVAL_S).
        counts = [each.directory_id for each in replaced]
        saw["the new directory is the one that counts"] = eventually(
            lambda: [each.directory_id for each in all_running(NAME)] == counts
        )
    kv.shutdown(NAME, delete_data=True)
    saw["left after delete_data"] = sorted(str(path) for path in root.rglob("*.seg"))
    with contextlib.suppress(Exception):  # what Ray says at its end is not ours
        nodes.close()
    return saw


if __name__ == "__main__":
    print("SAW " + json.dumps(main(Path(sys.argv[1]))))
