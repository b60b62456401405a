"""Queries that wait until the state is new enough.

Here:   `Reads`: which query waits for which index, and until when.
Never:  which index that is (the peer's read index, dissertation §6.4), how a query is answered (passed in as `run`).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from raft_actors.application.exchange import Overloaded
from raft_actors.application.limits import HostLimits, Ticket
from raft_actors.application.requests import QueryAnswer, Unknown
from raft_actors.core.types import LogIndex

READ_DEADLINE: Final = Unknown(why="this member did not apply in time what the query has to see")


@dataclass(frozen=True, slots=True, order=True)
class _Read:
    index: LogIndex
    ticket: Ticket
    request: bytes = field(compare=False)
    deadline_ms: int = field(compare=False)


class Reads:
    """The waiting queries of one application. Answers collect until `take_answers`."""

    # `run` is passed with each call: kept here, it would hold its host, which holds this. Such a cycle keeps the whole
    # state of a host that was replaced in memory until a full collection, and there is none (process.py).

    def __init__(self, limits: HostLimits) -> None:
        self._waiting_max = limits.reads_waiting_max
        self._heap: list[_Read] = []
        self._answers: list[tuple[Ticket, QueryAnswer]] = []

    @property
    def waiting_count(self) -> int:
        """Queries without an answer."""
        return len(self._heap)

    def take_answers(self) -> list[tuple[Ticket, QueryAnswer]]:
        """What ended since the last call, each ticket once."""
        answers, self._answers = self._answers, []
        return answers

    def read(
        self,
        ticket: Ticket,
        request: bytes,
        index: LogIndex,
        applied_index: LogIndex,
        deadline_ms: int,
        run: Callable[[bytes], QueryAnswer],
    ) -> None:
        """Answer `request` from a state that has applied `index`: now, or when it has."""
        if index <= applied_index:
            self._answers.append((ticket, run(request)))
        elif len(self._heap) >= self._waiting_max:
            self._answers.append((ticket, Overloaded()))
        else:
            heapq.heappush(self._heap, _Read(index, ticket, request, deadline_ms))

    def applied(self, applied_index: LogIndex, run: Callable[[bytes], QueryAnswer]) -> None:
        """The state has come to `applied_index`."""
        while self._heap and self._heap[0].index <= applied_index:
            read = heapq.heappop(self._heap)
            self._answers.append((read.ticket, run(read.request)))

    def expire(self, now_ms: int) -> None:
        """End the queries whose deadline has come."""
        self._end(lambda read: read.deadline_ms <= now_ms, READ_DEADLINE)

    def end_all(self, answer: QueryAnswer) -> None:
        """End every waiting query in the same way."""
        self._end(lambda read: True, answer)

    def _end(self, ends: Callable[[_Read], bool], answer: QueryAnswer) -> None:
        self._answers.extend((read.ticket, answer) for read in self._heap if ends(read))
        self._heap = [read for read in self._heap if not ends(read)]
        heapq.heapify(self._heap)
