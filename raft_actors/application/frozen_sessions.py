"""The sessions as they were at one moment, read in order while they go on changing: copy on write, session by session.

Here:   `FrozenSessions`: whoever changed since and was not read yet; the fields of a snapshot.
Never:  what changes a session (sessions.py), how fields become bytes (fields.py).

Freezing copies nothing, whatever the number of sessions. Why what is read is the state of that moment all the same:

1. Sessions are frozen between two entries, and the indexes of entries rise. So a session that an entry uses leaves the
   last use that it was frozen in, before anything else of it changes, for one with an index above all frozen ones; and
   one that is dropped leaves it too, and would be opened again above. Nobody ever joins a frozen last use.
2. Hence whoever still stands in a frozen last use is as he was. Whoever left it was told of before, once
   (`before_leaving`), and is kept as he was (`_Left`). Those two together are all who were in it.
3. Sessions are read in the order of (index of the last use, client id), and `_passed` is the pair read last. A session
   that leaves from there or from below was read, one that leaves from above `_newest_index` was not there: neither is
   kept. All fields of one session are taken in one step.
4. The last uses not begun yet are those in the ring from `_next` on, and those that somebody left (`_left_indexes`);
   some are both. `_next` always stands in the ring: the last session to leave it moves `_next` on. None that was taken
   out of the ring is held on to: its neighbours would be held too, and theirs.
5. How many last uses there are is known from the beginning, and each turn reads the lowest one that was not begun.

So at most those sessions are held twice that change while a snapshot is read, before it comes to them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from raft_actors.application.frames import ClientId
from raft_actors.application.last_uses import LastUses, Session


class _Kept(NamedTuple):
    """Of one session, as it was when it left."""

    acked_below: int
    results: dict[int, bytes]


@dataclass(slots=True, kw_only=True)
class _Left:
    """Of one last use that was not read to its end: who left it."""

    stamp_ms: int
    sessions: dict[ClientId, _Kept] = field(default_factory=dict)


class FrozenSessions:
    """Of one snapshot. Read once, by the thread that changes the sessions."""

    def __init__(self, sessions: Mapping[ClientId, Session], last_uses: LastUses, dropped_to: int) -> None:
        """The sessions themselves, which go on changing."""
        self._sessions = sessions
        self._dropped_to = dropped_to
        self._use_count = len(last_uses)
        self._newest_index = last_uses.newest_index
        self._next = last_uses.oldest
        """The first one in the ring behind that which was begun last; the end of the ring, or a newer one: none is."""
        self._passed: tuple[int, bytes] = (0, b"")
        self._left: dict[int, _Left] = {}
        """By index; the one that is being read too."""
        self._left_indexes: list[int] = []
        """A heap of those in `_left` that were not begun."""

    def before_leaving(self, client_id: ClientId, session: Session) -> None:
        """This session is about to leave its last use: it is used again, or dropped."""
        use = session.last_use
        if use is self._next and len(use.clients) == 1:
            self._next = use.after
        if use.index > self._newest_index or (use.index, client_id) <= self._passed:
            return
        left = self._left.get(use.index)
        if left is None:
            left = self._left[use.index] = _Left(stamp_ms=use.stamp_ms)
            heapq.heappush(self._left_indexes, use.index)
        left.sessions[client_id] = _Kept(session.acked_below, session.results.copy())

    def fields(self) -> Iterator[int | bytes]:
        """All of them, flat, in the order in which they would have been dropped (docs/FORMATS.md).

        The sessions may change between two fields. One step sorts no more than the results of one session, or the
        clients of one entry.
        """
        yield self._dropped_to
        yield self._use_count
        for _ in range(self._use_count):
            index, stamp_ms, clients = self._begin()
            yield index
            yield stamp_ms
            yield len(clients)
            for client_id in clients:
                yield from self._read(index, client_id)
            del self._left[index]
        assert not self._left, "last uses were left over that were not counted when they were frozen"

    def _begin(self) -> tuple[int, int, list[ClientId]]:
        """The lowest last use that was not read: its index, its stamp, and who was in it, ascending."""
        use, lefts = self._next, self._left_indexes
        in_ring = bool(use.clients) and not (lefts and lefts[0] < use.index)
        index = use.index if in_ring else lefts[0]
        assert self._passed[0] < index <= self._newest_index, f"{index} was not frozen, or was read before"
        if lefts and lefts[0] == index:
            heapq.heappop(lefts)
            left = self._left[index]
        else:
            left = self._left[index] = _Left(stamp_ms=use.stamp_ms)
        clients = list(left.sessions)
        if in_ring:
            clients += use.clients
            self._next = use.after
        clients.sort()
        return index, left.stamp_ms, clients

    def _read(self, index: int, client_id: ClientId) -> list[int | bytes]:
        """One session; from now on it is passed."""
        self._passed = (index, client_id)
        session: _Kept | Session | None = self._left[index].sessions.get(client_id)
        if session is None:
            session = self._sessions[client_id]
            assert session.last_use.index == index, f"a session was used at {session.last_use.index} and nobody told"
        fields: list[int | bytes] = [client_id, session.acked_below, len(session.results)]
        for sequence in sorted(session.results):
            fields += (sequence, session.results[sequence])
        return fields
