"""Which server next: the leader if one is known, else each in turn.

Here:   `Route`: the leader as far as known, whom to distrust, the order of asking; `Backoff`, the pause between tries.
Never:  operations, calls.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from raft_actors.client.limits import ClientLimits
from raft_actors.core.types import MemberId

HINTS_IN_A_ROW: Final = 2


class Backoff:
    """Pauses that double, each with its own jitter, so that many clients do not come back together."""

    def __init__(self, limits: ClientLimits, dice: random.Random) -> None:
        self._limits = limits
        self._dice = dice
        self._pause_ms = limits.backoff_ms_min
        self.until_ms = 0
        """Nothing is sent before this time."""

    def grow(self, now_ms: int) -> None:
        """Pause for half to all of the present length; the next one is twice as long."""
        self.until_ms = now_ms + max(1, round(self._pause_ms * self._dice.uniform(0.5, 1.0)))
        self._pause_ms = min(2 * self._pause_ms, self._limits.backoff_ms_max)

    def reset(self) -> None:
        """Something went well: go on at once."""
        self._pause_ms = self._limits.backoff_ms_min
        self.until_ms = 0


class Route:
    """What is known of the servers."""

    def __init__(self, limits: ClientLimits, dice: random.Random) -> None:
        self._limits = limits
        self._dice = dice
        self._members: tuple[MemberId, ...] = ()
        self._next = 0
        self._suspected_until_ms: dict[MemberId, int] = {}
        self._hints_followed = 0
        self._stranger: MemberId | None = None
        """A leader that was named and is not among the members, since `know` was asked last."""
        self.leader: MemberId | None = None
        """Who led last, as far as known."""

    @property
    def members(self) -> tuple[MemberId, ...]:
        """Everyone who may be asked."""
        return self._members

    def know(self, members: Sequence[MemberId]) -> bool:
        """These are the members now. The first to be asked is drawn, or all clients would ask the same one.

        True: somebody named a leader who is not among them.
        """
        stranger, self._stranger = self._stranger, None
        if tuple(members) == self._members:
            return stranger is not None and stranger not in self._members
        self._members = tuple(members)
        self._next = self._dice.randrange(max(1, len(self._members)))
        self._suspected_until_ms = {
            member: until_ms for member, until_ms in self._suspected_until_ms.items() if member in self._members
        }
        if self.leader not in self._members:
            self.leader = None
        return stranger is not None and stranger not in self._members

    def next_member(self, now_ms: int) -> MemberId | None:
        """Each in turn, those under suspicion only when all are; None without members."""
        self._hints_followed = 0
        turn = [*self._members[self._next :], *self._members[: self._next]]
        trusted = [member for member in turn if not self._is_suspected(member, now_ms)]
        for member in trusted or turn:
            self._next = (self._members.index(member) + 1) % len(self._members)
            return member
        return None

    def leads(self, member_id: MemberId) -> None:
        """It did what only a leader does."""
        self.leader = member_id
        self._hints_followed = 0

    def spoke(self, member_id: MemberId) -> None:
        """It answered, whatever it said."""
        self._suspected_until_ms.pop(member_id, None)

    def silent(self, member_id: MemberId, now_ms: int) -> bool:
        """It did not answer in time, or could not be reached. True: it was not under suspicion until now."""
        before = self._is_suspected(member_id, now_ms)
        self._suspected_until_ms[member_id] = now_ms + self._limits.suspicion_ms
        if self.leader == member_id:
            self.leader = None
        return not before

    def refused(self, member_id: MemberId, hint: MemberId | None, now_ms: int) -> None:
        """It does not lead and names `hint`, which is followed if it adds anything to what is known.

        Not for ever: two deposed leaders may name each other. After HINTS_IN_A_ROW each server is asked in turn.
        """
        if self.leader == member_id:
            self.leader = None
        if hint is not None and hint not in self._members:
            self._stranger = hint
        if self.leader is not None or hint is None or hint == member_id or hint not in self._members:
            return
        if self._hints_followed < HINTS_IN_A_ROW and not self._is_suspected(hint, now_ms):
            self._hints_followed += 1
            self.leader = hint

    def _is_suspected(self, member_id: MemberId, now_ms: int) -> bool:
        return now_ms < self._suspected_until_ms.get(member_id, 0)
