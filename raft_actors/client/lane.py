"""Operations of one kind that wait to be sent, and the calls that are open for them.

Here:   `Lane`: the queue for whoever is next, the queues of those whom everyone is asked about, slots in flight.
Never:  who is next (route.py), what an answer means (engine.py).
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from raft_actors.client.limits import ClientLimits
from raft_actors.client.operation import Call, Kind, Operation
from raft_actors.client.route import Backoff
from raft_actors.core.types import MemberId


class Lane:
    """One kind of operations on their way."""

    def __init__(self, kind: Kind, limits: ClientLimits, dice: random.Random) -> None:
        self.kind = kind
        self.backoff = Backoff(limits, dice)
        self._limits = limits
        self._waiting: OrderedDict[int, Operation] = OrderedDict()
        self._asked: dict[MemberId, OrderedDict[int, Operation]] = {}
        """Those that are not empty."""
        self._open: dict[MemberId, dict[int, Call]] = {}
        self._probe_at_ms: dict[MemberId, int] = {}

    @property
    def first_waiting(self) -> Operation | None:
        """The operation that is next for the leader, or for anyone."""
        return next(iter(self._waiting.values()), None)

    @property
    def first(self) -> Operation | None:
        """Any operation that could be sent if there were a slot; the one that is next, if that waits for anyone."""
        for queue in (self._waiting, *self._asked.values()):
            for operation in queue.values():
                return operation
        return None

    @property
    def is_waiting(self) -> bool:
        """Whether anything could be sent if there were a slot."""
        return bool(self._waiting or self._asked)

    def wait(self, operation: Operation, *, first: bool = False) -> None:
        """For the leader, or for anyone; `first`: it has waited before."""
        if operation.number not in self._waiting:
            self._waiting[operation.number] = operation
            if first:
                self._waiting.move_to_end(operation.number, last=False)

    def ask(self, operation: Operation, member_id: MemberId) -> None:
        """Ask this one, whether it leads or not."""
        self._asked.setdefault(member_id, OrderedDict()).setdefault(operation.number, operation)

    def ask_all(self, operations: Sequence[Operation], members: Sequence[MemberId]) -> None:
        """Ask these about the first of them: thousands at once would only hold up an election (`ask_all_max`)."""
        for operation in operations[: self._limits.ask_all_max]:
            for member_id in members:
                self.ask(operation, member_id)

    def forget(self, operation: Operation) -> None:
        """It ended: send it no more."""
        self._waiting.pop(operation.number, None)
        for member_id, queue in list(self._asked.items()):
            queue.pop(operation.number, None)
            self._drop_if_empty(member_id)

    def _drop_if_empty(self, member_id: MemberId) -> None:
        if not self._asked[member_id]:
            del self._asked[member_id]

    def is_asked(self, member_id: MemberId) -> bool:
        """Whether `ask` put something in this member's queue."""
        return member_id in self._asked

    def take(self, member_id: MemberId, count_max: int, *, asked: bool) -> list[Operation]:
        """The next batch for this member: what it is asked about, or what waits. Those it has already are left out."""
        queue = self._asked[member_id] if asked else self._waiting
        batch: list[Operation] = []
        size_bytes = 0
        while queue and len(batch) < min(count_max, self._limits.batch_count_max):
            number, operation = next(iter(queue.items()))
            size_bytes += len(operation.request)
            if batch and size_bytes > self._limits.batch_bytes_max:
                break
            del queue[number]
            if not any(call.member_id == member_id and not call.silent for call in operation.open.values()):
                batch.append(operation)
        if asked:
            self._drop_if_empty(member_id)
        return batch

    # -- calls --------------------------------------------------------------------------------------------------------

    def calls(self) -> Iterator[Call]:
        """All that are open."""
        for calls in self._open.values():
            yield from calls.values()

    def has_slot(self, member_id: MemberId, now_ms: int) -> bool:
        """Whether another call may begin.

        A slot is freed by the call's end, never by a deadline: the call still stands in Ray's queue, and a stopped
        server would collect thousands. When all are overdue, a probe a second finds out whether it is back.
        """
        calls = self._open.get(member_id, {})
        if len(calls) < self._limits.calls_in_flight_max:
            return True
        all_overdue = all(now_ms >= call.overdue_at_ms for call in calls.values())
        probe_at_ms = self._probe_at_ms.get(member_id, 0)
        return all_overdue and len(calls) < self._limits.calls_overdue_max and now_ms >= probe_at_ms

    def slots_ms(self) -> Iterator[int]:
        """When slots open by time alone: those of probes."""
        for member_id, calls in self._open.items():
            if self._limits.calls_in_flight_max <= len(calls) < self._limits.calls_overdue_max:
                overdue_at_ms = max(call.overdue_at_ms for call in calls.values())
                yield max(overdue_at_ms, self._probe_at_ms.get(member_id, 0))

    def began(self, call: Call, now_ms: int) -> None:
        """The call takes its slot."""
        calls = self._open.setdefault(call.member_id, {})
        calls[call.number] = call
        if len(calls) > self._limits.calls_in_flight_max:
            self._probe_at_ms[call.member_id] = now_ms + self._limits.probe_ms

    def over(self, call: Call) -> None:
        """The call ended, its slot is free."""
        del self._open[call.member_id][call.number]
