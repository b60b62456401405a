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
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from raft_actors.application.frames import (
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
from raft_actors.application.settings import SessionLimits

NOTHING_DROPPED: Final = -1
"""`dropped_to` before the first drop. Below 0, so that a client that learned of an empty log (index 0) can open."""


@dataclass(slots=True, kw_only=True)
class _Session:
    last_used_index: int
    acked_below: int = 0
    results: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _LastUse:
    """The sessions whose last command stands in one entry."""

    stamp_ms: int
    clients: set[ClientId] = field(default_factory=set)


class Sessions:
    """All sessions of one replica."""

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self._sessions: dict[ClientId, _Session] = {}
        self._last_uses: OrderedDict[int, _LastUse] = OrderedDict()
        self._dropped_to = NOTHING_DROPPED

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
        return [client_id for use in self._last_uses.values() for client_id in sorted(use.clients)]

    def apply_entry(
        self, index: int, stamp_ms: int, frames: Sequence[AnyFrame], run: Callable[[bytes], bytes]
    ) -> tuple[Outcome, ...]:
        """Apply the frames of the entry at `index` through `run`, each as the rules above say. One outcome per frame.

        To be called for every entry, without frames too: time passes in all of them. What `run` raises passes through
        and leaves the sessions unusable.
        """
        newest = next(reversed(self._last_uses), 0)
        assert index > newest, f"entry {index} applied after {newest}: entries come in the order of the log"
        self._drop_idle(stamp_ms)
        outcomes = tuple([self._apply(index, stamp_ms, frame, run) for frame in frames])
        self._drop_surplus()
        return outcomes

    def _apply(self, index: int, stamp_ms: int, frame: AnyFrame, run: Callable[[bytes], bytes]) -> Outcome:
        if isinstance(frame, RawFrame):
            return Computed(result=run(frame.command))
        session = self._sessions.get(frame.client_id)
        if session is None:
            if frame.opens is None or frame.opens <= self._dropped_to:
                return SessionExpired(applied_index=index)
            session = self._sessions[frame.client_id] = _Session(last_used_index=index)
        self._use(session, frame.client_id, index, stamp_ms)
        self._acknowledge(session, frame)
        if frame.sequence < session.acked_below:
            return Fenced()
        if frame.sequence >= session.acked_below + self._limits.results_max:
            return WindowExceeded()
        if frame.sequence not in session.results:
            session.results[frame.sequence] = run(frame.command)
        return Computed(result=session.results[frame.sequence])

    def _acknowledge(self, session: _Session, frame: Frame) -> None:
        """Forget the results that the client has, which all lie within one window above `acked_below`."""
        window_end = session.acked_below + self._limits.results_max
        for sequence in range(session.acked_below, min(frame.acked_below, window_end)):
            session.results.pop(sequence, None)
        session.acked_below = max(session.acked_below, frame.acked_below)

    def _use(self, session: _Session, client_id: ClientId, index: int, stamp_ms: int) -> None:
        before = self._last_uses.get(session.last_used_index)
        if before is not None and session.last_used_index != index:
            before.clients.discard(client_id)
            if not before.clients:
                del self._last_uses[session.last_used_index]
        session.last_used_index = index
        self._last_uses.setdefault(index, _LastUse(stamp_ms=stamp_ms)).clients.add(client_id)

    def _drop_idle(self, stamp_ms: int) -> None:
        """Both index and stamp rise along the log, so the sessions idle for longest stand in front."""
        while self._last_uses:
            index, use = next(iter(self._last_uses.items()))
            if stamp_ms - use.stamp_ms < self._limits.idle_ms_max:
                return
            self._drop(index, tuple(use.clients))

    def _drop_surplus(self) -> None:
        while (surplus := len(self._sessions) - self._limits.sessions_max) > 0:
            index, use = next(iter(self._last_uses.items()))
            self._drop(index, heapq.nsmallest(surplus, use.clients))

    def _drop(self, index: int, clients: Sequence[ClientId]) -> None:
        use = self._last_uses[index]
        for client_id in clients:
            use.clients.remove(client_id)
            del self._sessions[client_id]
        if not use.clients:
            del self._last_uses[index]
        self._dropped_to = max(self._dropped_to, index)
