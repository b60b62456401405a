"""What the injector's faults need: it, the nodes of Ray, and those without whom a group can do.

Here:   `Scene`.
Never:  what faults do (kinds.py), when (disturbance.py).

Two rules keep a run meaningful. What ends or stops processes hits nobody twice at a time: of two such faults one does
nothing, and a fault that did nothing makes the run void. And what takes a disk for good waits until all members are
voters in step: no store survives the loss of a majority's disks, so a run in which that happens shows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import ray
from ray.exceptions import RayError

from raft_actors.core.types import MemberId
from raft_actors.faults import Faults
from raft_actors.names import NAMESPACE, peer_name
from tests.chaos.members import Members, NotNow, rack_of
from tests.cluster.three_nodes import RACKS, Nodes
from tests.cluster.world import eventually


class Scene(Members):
    """Of one segment."""

    def __init__(
        self, group: str, size: int, dice: Random, *, clients: Sequence[str], faults: Faults, nodes: Nodes
    ) -> None:
        super().__init__(group, size, dice)
        self.clients = tuple(clients)
        self.faults = faults
        self._nodes = nodes

    def expendable(self, *, with_snapshot: bool = False) -> int:
        """Somebody without whom the others can do. Raises `NotNow`."""
        rows = self._whole()
        return self._any([row for row in rows if row.snapshot_index or not with_snapshot])

    def on_a_node_to_lose(self) -> tuple[int, str]:
        """A member on a node that is not the drivers', and the node's label. Raises `NotNow`."""
        self._whole()
        rack = self.dice.choice(RACKS[1:])
        return self.dice.choice(sorted(self.members_on(rack))), rack

    def members_on(self, rack: str) -> frozenset[int]:
        """Whose place it is."""
        return frozenset(member for member in self.members if rack_of(member) == rack)

    # -- what kinds need besides --------------------------------------------------------------------------------------

    def save_snapshots(self, member: int, within_s: float) -> None:
        """Two, of states that differ: its log then begins behind whoever is down. Raises `NotNow`."""
        try:
            peer: Any = ray.get_actor(peer_name(self.group, MemberId(member)), namespace=NAMESPACE)
            first = ray.get(peer.save_snapshot.remote(within_s), timeout=within_s + 1.0)
            eventually(lambda: ray.get(peer.save_snapshot.remote(within_s), timeout=within_s + 1.0) > first, within_s)
        except (RayError, ValueError, AssertionError) as failure:
            raise NotNow(f"member {member} takes no snapshot ({type(failure).__name__})") from failure

    def bring_back(self, rack: str) -> None:
        """A node whose raylet was killed: what is left of it goes, and another one takes its place and its disks."""
        self._nodes.kill(rack)
        self._nodes.add(rack)
