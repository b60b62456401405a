"""Who is there now in a group that faults hit, and whom the next one may hit.

Here:   `Members`; `NotNow`, for a fault that must wait.
Never:  faults (kinds.py), when (disturbance.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final, TypeVar

import kv
from raft_actors.cluster.group import MemberStatus
from raft_actors.errors import RaftActorsError
from tests.cluster.three_nodes import RACKS

T = TypeVar("T")

LAG_MAX: Final = 50
"""Entries under way: while clients write, a follower is always some messages behind."""


class NotNow(Exception):
    """This fault has nobody to hit at this moment."""


class Members:
    """Of one group."""

    def __init__(self, group: str, size: int, dice: Random) -> None:
        self.group = group
        self.members = range(size)
        self.dice = dice
        self.hit: set[int] = set()
        """Members that a lasting fault of processes or disks has hit."""

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

    def is_whole(self) -> bool:
        """Whether all members are voters in step, and nothing lasts."""
        try:
            return bool(self._whole())
        except (NotNow, RaftActorsError):
            return False

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
