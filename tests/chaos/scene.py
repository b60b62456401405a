"""Whom a fault may hit now, and what is left of the group.

Here:   `Scene`: the group, its nodes, its members' states, the dice; `NotNow`, for a fault that must wait.
Never:  what faults do (kinds.py), when (segment.py).

Two rules keep a run meaningful. What ends or stops processes hits nobody twice at a time: of two such faults one does
nothing, and a fault that did nothing makes the run void. And what takes a disk for good waits until all members are
voters in step: no store survives the loss of a majority's disks, so a run in which that happens shows nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random
from typing import Any, Final, TypeVar

import ray
from ray.exceptions import RayError

import kv
from raft_actors import Faults
from raft_actors.cluster.group import MemberStatus
from raft_actors.core.types import MemberId
from raft_actors.errors import RaftActorsError
from raft_actors.names import NAMESPACE, peer_name
from tests.cluster.three_nodes import RACKS, Nodes

T = TypeVar("T")

LAG_MAX: Final = 50
"""Entries under way: while clients write, a follower is always some messages behind."""


class NotNow(Exception):
    """This fault has nobody to hit at this moment."""


class Scene:
    """Of one segment."""

    def __init__(
        self, group: str, size: int, clients: Sequence[str], faults: Faults, nodes: Nodes, dice: Random
    ) -> None:
        self.group = group
        self.members = range(size)
        self.clients = tuple(clients)
        self.faults = faults
        self.dice = dice
        self.hit: set[int] = set()
        """Members that a lasting fault of processes or disks has hit."""
        self._nodes = nodes

    def shuffled(self, things: Sequence[T]) -> list[T]:
        """All of them."""
        return self.dice.sample(list(things), len(things))

    # -- whom ---------------------------------------------------------------------------------------------------------

    def leader(self, *, unharmed: bool = False) -> int:
        """Of the highest term. Raises `NotNow`."""
        leads = [row for row in self._unharmed() if row.role == "leader"] if unharmed else self._leaders()
        if not leads:
            raise NotNow("nobody leads who may be hit")
        return max(leads, key=lambda row: row.term).id

    def follower(self, *, unharmed: bool = False) -> int:
        """Anybody who does not lead. Raises `NotNow`."""
        leads = self.leader()
        rows = self._unharmed() if unharmed else self._running()
        return self._any([row for row in rows if row.id != leads])

    def target(self) -> int:
        """Anybody whose both processes run. Raises `NotNow`."""
        return self._any(self._unharmed())

    def all_unharmed(self) -> list[int]:
        """Everybody whose both processes run; a quorum at least. Raises `NotNow`."""
        found = [row.id for row in self._unharmed()]
        if len(found) <= len(self.members) // 2:
            raise NotNow("too few are there")
        return found

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

    def is_whole(self) -> bool:
        """Whether all members are voters in step, and nothing lasts."""
        try:
            return bool(self._whole())
        except (NotNow, RaftActorsError):
            return False

    # -- what kinds need besides --------------------------------------------------------------------------------------

    def save_snapshots(self, member: int, within_s: float) -> None:
        """Two, with some time between: its log then begins behind whoever is down. Raises `NotNow`."""
        try:
            peer: Any = ray.get_actor(peer_name(self.group, MemberId(member)), namespace=NAMESPACE)
            for _ in range(2):
                time.sleep(0.3)
                ray.get(peer.save_snapshot.remote(within_s), timeout=within_s + 1.0)
        except (RayError, ValueError) as failure:
            raise NotNow(f"member {member} takes no snapshot ({type(failure).__name__})") from failure

    def bring_back(self, rack: str) -> None:
        """A node whose raylet was killed: what is left of it goes, and another one takes its place and its disks."""
        self._nodes.kill(rack)
        self._nodes.add(rack)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _statuses(self) -> tuple[MemberStatus, ...]:
        return kv.status(self.group).members

    def _running(self) -> list[MemberStatus]:
        return [row for row in self._statuses() if row.state == "running"]

    def _leaders(self) -> list[MemberStatus]:
        return [row for row in self._running() if row.role == "leader"]

    def _unharmed(self) -> list[MemberStatus]:
        return [row for row in self._running() if row.server_pid is not None and row.id not in self.hit]

    def _any(self, rows: Sequence[MemberStatus]) -> int:
        if not rows:
            raise NotNow("nobody is there to be hit")
        return self.dice.choice(rows).id

    def _whole(self) -> list[MemberStatus]:
        rows = self._unharmed()
        ends = [row.last_applied or 0 for row in rows]
        if len(rows) < len(self.members) or max(ends) - min(ends) > LAG_MAX or not all(row.voter for row in rows):
            raise NotNow("a member is away, or behind")
        return rows


def rack_of(member: int) -> str:
    """Where it is placed."""
    return RACKS[member % len(RACKS)]
