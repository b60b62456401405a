"""When each session was last used, in the order in which sessions are dropped.

Here:   `Session`, `LastUse` (the sessions whose last command stands in one entry), `LastUses` (all of these, in order).
Never:  which command is applied, who is dropped, and when (sessions.py).

The last uses are a ring of nodes, not an ordered dictionary: whoever reads them in small steps (frozen_sessions.py) has
to find the one behind the one that was read last, however much was put in and taken out meanwhile, and a dictionary
that changed can only be walked from its beginning again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from raft_actors.application.frames import ClientId


@dataclass(slots=True, kw_only=True, eq=False)
class LastUse:
    """The sessions whose last command stands in the entry at `index`; at least one, but for the end of the ring."""

    index: int
    stamp_ms: int
    clients: set[ClientId] = field(default_factory=set)
    before: LastUse = field(init=False, repr=False)
    after: LastUse = field(init=False, repr=False)
    """Its neighbours. Of one that was taken out they mean nothing."""


@dataclass(slots=True, kw_only=True, eq=False)
class Session:
    """What is remembered of one client."""

    last_use: LastUse
    acked_below: int = 0
    results: dict[int, bytes] = field(default_factory=dict)


class LastUses:
    """By rising index. Each operation takes the same time for any number of them."""

    def __init__(self) -> None:
        self._end = LastUse(index=0, stamp_ms=0)
        """Behind the newest and before the oldest. It has no clients."""
        self._end.before = self._end.after = self._end
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[LastUse]:
        """From the oldest on. Nothing may change meanwhile."""
        use = self._end.after
        while use is not self._end:
            yield use
            use = use.after

    @property
    def oldest(self) -> LastUse:
        """Or, if there are none, the end of the ring."""
        return self._end.after

    @property
    def newest_index(self) -> int:
        """0 if there are none."""
        return self._end.before.index

    def join(self, client_id: ClientId, index: int, stamp_ms: int) -> LastUse:
        """A session of which nothing is noted was used at `index`, which is not below the newest."""
        newest = self._end.before
        if newest.index != index:
            use = LastUse(index=index, stamp_ms=stamp_ms)
            use.before, use.after = newest, self._end
            newest.after = self._end.before = newest = use
            self._count += 1
        newest.clients.add(client_id)
        return newest

    def leave(self, client_id: ClientId, use: LastUse) -> None:
        """Forget that this session was used then; a last use of nobody is taken out."""
        use.clients.remove(client_id)
        if not use.clients:
            use.before.after, use.after.before = use.after, use.before
            self._count -= 1
