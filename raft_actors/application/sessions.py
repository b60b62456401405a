"""Exactly once: which command of which client is applied, and whose result is remembered.

Here:   the sessions of one replica, a function of the log alone (Raft §8, dissertation §6.3).
Never:  the machine (passed in as `run`), epochs, waiting, clocks. Time is what the log carries.

The rules, and what goes wrong without each:

1. A result is kept until its sequence is acknowledged, so a retry gets the first answer, not a second application.
   Sequences may arrive in any order; one sequence says nothing about another.
2. A sequence below the highest `acked_below` applied is never applied, whatever it carries. Its result is gone, so a
   late copy could not be told from a new command; this also fences what the client gave up as unknown.
3. An unknown session is opened only by a frame that says so with an index above `dropped_to`: a late copy of a
   dropped session's opening command names an index at or below its last use, and so never opens it again.
4. Sessions are dropped at each entry, lowest (last used index, client_id) first, an order that does not depend on how
   a replica came to its state. Iteration over a set would (PYTHONHASHSEED).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from weakref import ReferenceType, ref

from raft_actors.application.fields import FieldReader
from raft_actors.application.frames import (
    CLIENT_ID_BYTES,
    AnyFrame,
    ClientId,
    Computed,
    Fenced,
    Frame,
    Outcome,
    RawFrame,
    SessionExpired,
    WindowExceeded,
)
from raft_actors.application.frozen_sessions import FrozenSessions
from raft_actors.application.last_uses import LastUse, LastUses, Session
from raft_actors.application.packing import Malformed
from raft_actors.application.settings import SessionLimits

NOTHING_DROPPED: Final = -1
"""`dropped_to` before the first drop. Below 0, so that a client that learned of an empty log (index 0) can open."""


class Sessions:
    """All sessions of one replica."""

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self._sessions: dict[ClientId, Session] = {}
        self._last_uses = LastUses()
        self._dropped_to = NOTHING_DROPPED
        self._frozen: list[ReferenceType[FrozenSessions]] = []
        """Snapshots that are being read, and some that were."""

    @property
    def limits(self) -> SessionLimits:
        """As the genesis record says."""
        return self._limits

    @property
    def dropped_to(self) -> int:
        """Highest index at which any dropped session was last used; -1 before the first drop."""
        return self._dropped_to

    @property
    def result_count(self) -> int:
        """Results kept, of all sessions together."""
        return sum(len(session.results) for session in self._sessions.values())

    def clients(self) -> list[ClientId]:
        """Who has a session, in the order in which they would be dropped."""
        return [client_id for use in self._last_uses for client_id in sorted(use.clients)]

    def apply_entry(
        self, index: int, stamp_ms: int, frames: Sequence[AnyFrame], run: Callable[[bytes], bytes]
    ) -> tuple[Outcome, ...]:
        """Apply the frames of the entry at `index` through `run`, each as the rules above say. One outcome per frame.

        To be called for every entry, without frames too: time passes in all of them. What `run` raises passes through
        and leaves the sessions unusable.
        """
        newest = self._last_uses.newest_index
        assert index > newest, f"entry {index} applied after {newest}: entries come in the order of the log"
        self._drop_idle(stamp_ms)
        outcomes = tuple([self._apply(index, stamp_ms, frame, run) for frame in frames])
        self._drop_surplus()
        return outcomes

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def fields(self) -> Iterator[int | bytes]:
        """All of it, flat, as it is at this call. Equal sessions give equal fields.

        Nothing is copied here, so it takes no longer with more sessions. To be called between two entries; others may
        be applied between two fields.
        """
        frozen = FrozenSessions(self._sessions, self._last_uses, self._dropped_to)
        self._frozen.append(ref(frozen))
        return frozen.fields()

    @classmethod
    def read(cls, limits: SessionLimits, reader: FieldReader, applied_index: int) -> Sessions:
        """The reverse. Raises `Malformed` for what sessions with these limits cannot be after `applied_index`."""
        sessions = cls(limits)
        sessions._dropped_to = reader.read(int)
        if not NOTHING_DROPPED <= sessions._dropped_to <= applied_index:
            raise Malformed(f"sessions dropped up to {sessions._dropped_to}, applied is {applied_index}")
        before_index, before_ms = 0, None
        for _ in range(reader.read_count(limits.sessions_max)):
            index, stamp_ms = reader.read(int), reader.read(int)
            if not before_index < index <= applied_index or (before_ms is not None and stamp_ms < before_ms):
                raise Malformed(f"a session last used at {index} behind one at {before_index}")
            sessions._read_clients(reader, index, stamp_ms)
            before_index, before_ms = index, stamp_ms
        return sessions

    def _read_clients(self, reader: FieldReader, index: int, stamp_ms: int) -> None:
        count = reader.read_count(self._limits.sessions_max - len(self._sessions))
        if count == 0:
            raise Malformed(f"nobody was last used at {index}")
        before = b""
        for _ in range(count):
            client_id = ClientId(reader.read(bytes))
            if len(client_id) != CLIENT_ID_BYTES or client_id <= before or client_id in self._sessions:
                raise Malformed("clients out of order, or one twice")
            use = self._last_uses.join(client_id, index, stamp_ms)
            session = Session(last_use=use, acked_below=reader.read(int))
            for _ in range(reader.read_count(self._limits.results_max)):
                sequence, result = reader.read(int), reader.read(bytes)
                behind = next(reversed(session.results), session.acked_below - 1)
                if not behind < sequence < session.acked_below + self._limits.results_max:
                    raise Malformed(f"a result of sequence {sequence} behind {behind}")
                session.results[sequence] = result
            if session.acked_below < 0:
                raise Malformed("a session that acknowledges less than nothing")
            self._sessions[client_id] = session
            before = client_id

    # -- one frame ----------------------------------------------------------------------------------------------------

    def _apply(self, index: int, stamp_ms: int, frame: AnyFrame, run: Callable[[bytes], bytes]) -> Outcome:
        if isinstance(frame, RawFrame):
            return Computed(result=run(frame.command))
        session = self._sessions.get(frame.client_id)
        if session is None:
            if frame.opens is None or frame.opens <= self._dropped_to:
                return SessionExpired(applied_index=index)
            use = self._last_uses.join(frame.client_id, index, stamp_ms)
            session = self._sessions[frame.client_id] = Session(last_use=use)
        elif session.last_use.index != index:
            self._use(session, frame.client_id, index, stamp_ms)
        self._acknowledge(session, frame)
        if frame.sequence < session.acked_below:
            return Fenced()
        if frame.sequence >= session.acked_below + self._limits.results_max:
            return WindowExceeded()
        if frame.sequence not in session.results:
            session.results[frame.sequence] = run(frame.command)
        return Computed(result=session.results[frame.sequence])

    def _acknowledge(self, session: Session, frame: Frame) -> None:
        """Forget the results that the client has, which all lie within one window above `acked_below`."""
        window_end = session.acked_below + self._limits.results_max
        for sequence in range(session.acked_below, min(frame.acked_below, window_end)):
            session.results.pop(sequence, None)
        session.acked_below = max(session.acked_below, frame.acked_below)

    def _use(self, session: Session, client_id: ClientId, index: int, stamp_ms: int) -> None:
        if self._frozen:
            self._before_leaving(client_id, session)
        self._last_uses.leave(client_id, session.last_use)
        session.last_use = self._last_uses.join(client_id, index, stamp_ms)

    def _drop_idle(self, stamp_ms: int) -> None:
        """Both index and stamp rise along the log, so the sessions idle for longest stand in front."""
        while self._last_uses:
            use = self._last_uses.oldest
            if stamp_ms - use.stamp_ms < self._limits.idle_ms_max:
                return
            self._drop(use, tuple(use.clients))

    def _drop_surplus(self) -> None:
        while (surplus := len(self._sessions) - self._limits.sessions_max) > 0:
            use = self._last_uses.oldest
            self._drop(use, heapq.nsmallest(surplus, use.clients))

    def _drop(self, use: LastUse, clients: Sequence[ClientId]) -> None:
        for client_id in clients:
            if self._frozen:
                self._before_leaving(client_id, self._sessions[client_id])
            self._last_uses.leave(client_id, use)
            del self._sessions[client_id]
        self._dropped_to = max(self._dropped_to, use.index)

    def _before_leaving(self, client_id: ClientId, session: Session) -> None:
        """Who reads a snapshot keeps this session as it is now."""
        readers = [frozen for reference in self._frozen if (frozen := reference()) is not None]
        if len(readers) < len(self._frozen):
            self._frozen = list(map(ref, readers))
        for frozen in readers:
            frozen.before_leaving(client_id, session)
