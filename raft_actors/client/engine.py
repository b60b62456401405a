"""From an operation to its outcome: attempts, batches, hints, patience, sessions. All decisions of a client.

Here:   `Engine`: operations and answers in, calls and outcomes out.
Never:  threads, clocks, Ray, futures. `now_ms` is one monotonic clock of the caller; randomness is passed in.

How it asks. While a leader is known, everything goes to it, in few large batches. While none is, a few operations look
for it, one server after the other with pauses between, and the rest waits for what they find. A call that is silent
for `attempt_ms` puts its server under suspicion, and all servers are asked, each with an attempt of its own; a late
answer is still taken, whichever attempt it answers.

How it ends. Done as soon as any attempt is. Otherwise the outcome is unknown if any attempt has no definite answer,
and it did not happen if all have one; application/requests.py says which answers are definite.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Final, assert_never

from raft_actors.application.exchange import LogFull, NotLeader, Overloaded
from raft_actors.application.frames import ClientId, Fenced, SessionExpired, WindowExceeded
from raft_actors.application.requests import (
    Answer,
    Done,
    Lost,
    QueryAnswer,
    QueryDone,
    QueryFailed,
    TooLarge,
    Unknown,
)
from raft_actors.client import outcomes, wire
from raft_actors.client.lane import Lane
from raft_actors.client.limits import ClientLimits
from raft_actors.client.operation import Call, Ended, Kind, Operation, OperationReport, Result
from raft_actors.client.route import Route
from raft_actors.client.session import Session
from raft_actors.core.types import MemberId, Term

FIRST_CONTACT: Final = b""
"""Asked to learn an applied index, and in passing who leads. What the machine makes of it is of no interest."""
POLL_MS: Final = 50
"""While something waits and there are no members to ask, whether there are is looked at this often."""


class Engine:
    """The operations of one client. Used by one thread at a time."""

    def __init__(self, limits: ClientLimits, dice: random.Random, draw_client_id: Callable[[], ClientId]) -> None:
        """`draw_client_id` gives an id that nobody ever had, for each new session."""
        self._limits = limits
        self._draw_client_id = draw_client_id
        self._session = Session(draw_client_id())
        self._session_used_ms: int | None = None
        self._route = Route(limits, dice)
        self._lanes = {kind: Lane(kind, limits, dice) for kind in Kind}
        self._operations: dict[int, Operation] = {}
        self._deadlines: list[tuple[int, int]] = []
        self._calls: dict[int, Call] = {}
        self._call_numbers = count(1)
        self._own_numbers = count(0, -1)
        self._first_contact: Operation | None = None
        self._ended: list[Ended] = []
        self._looked_ms = -1
        """When `next_calls` was asked last."""

    # -- the caller -----------------------------------------------------------------------------------------------

    def begin(self, number: int, kind: Kind, request: bytes, timeout_ms: int, now_ms: int) -> None:
        """One operation more. It ends with exactly one `Ended`, at `now_ms + timeout_ms` at the latest."""
        assert number not in self._operations, f"operation {number} begins twice"
        operation = Operation(
            number=number, kind=kind, request=request, deadline_ms=now_ms + timeout_ms, timeout_ms=timeout_ms
        )
        self._operations[number] = operation
        heapq.heappush(self._deadlines, (operation.deadline_ms, number))
        self._lanes[kind].wait(operation)

    def know(self, members: Sequence[MemberId]) -> bool:
        """These servers can be asked. True: one that is not among them was said to lead."""
        return self._route.know(members)

    def take_ended(self) -> list[Ended]:
        """What ended since the last call, each operation once."""
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """End everything that has not ended."""
        for operation in list(self._operations.values()):
            self._end(operation, outcomes.closed(operation))

    def tick(self, now_ms: int) -> None:
        """Time has passed: end what is too late, and doubt the calls that are silent."""
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            _, number = heapq.heappop(self._deadlines)
            late = self._operations.get(number)
            if late is not None:
                self._end(late, outcomes.deadline_passed(late, leader_known=self._route.leader is not None))
        if len(self._deadlines) > 2 * len(self._operations) + POLL_MS:  # most have ended long before their deadline
            self._deadlines = sorted((operation.deadline_ms, number) for number, operation in self._operations.items())
        for call in self._calls.values():
            if not call.silent and now_ms >= call.patient_until_ms:
                call.silent = True
                self._doubt(call, now_ms)

    def next_tick_ms(self, now_ms: int) -> int | None:
        """When to come back if nothing else happens; None: no need.

        What waits goes out after an answer, or by time alone: when a pause ends or a probe may go to a server whose
        calls are all overdue. A time that `next_calls` has seen already changes nothing any more.
        """
        times = [call.patient_until_ms for call in self._calls.values() if not call.silent]
        if self._deadlines:
            times.append(self._deadlines[0][0])
        for lane in self._lanes.values():
            if lane.is_waiting:
                times += [at_ms for at_ms in (lane.backoff.until_ms, *lane.slots_ms()) if at_ms > self._looked_ms]
                if not self._route.members:
                    times.append(now_ms + POLL_MS)
        return min(times, default=None)

    # -- calls ----------------------------------------------------------------------------------------------------

    def next_calls(self, now_ms: int) -> list[Call]:
        """What to send now. Each call is to be `answered` or `not_sent`, once; if neither comes, it counts as open."""
        self._looked_ms = now_ms
        calls: list[Call] = []
        for lane in self._lanes.values():
            first = lane.first
            if first is None or (lane.kind is Kind.COMMAND and not self._session_is_ready(first, now_ms)):
                continue
            for member_id in self._route.members:
                while lane.is_asked(member_id) and lane.has_slot(member_id, now_ms):
                    self._send(lane, member_id, self._limits.batch_count_max, now_ms, calls, asked=True)
            while lane.first_waiting is not None and now_ms >= lane.backoff.until_ms:
                if not self._send_next(lane, now_ms, calls):
                    break
        return calls

    def _send_next(self, lane: Lane, now_ms: int, calls: list[Call]) -> bool:
        """One batch of what waits; False: nothing can be sent now."""
        scouting = lane.kind is not Kind.STALE and self._route.leader is None
        if scouting or lane.kind is Kind.STALE:
            member_id = self._next_with_slot(lane, now_ms)
        else:
            leader = self._route.leader
            member_id = leader if leader is not None and lane.has_slot(leader, now_ms) else None
        if scouting and self._route.members:
            lane.backoff.grow(now_ms)  # until the scouts are back, or the next server's turn
        if member_id is None:
            return False
        return self._send(
            lane, member_id, self._limits.scouts_max if scouting else self._limits.batch_count_max, now_ms, calls
        )

    def _next_with_slot(self, lane: Lane, now_ms: int) -> MemberId | None:
        """The next server in turn that can be asked; None: none can. Nobody comes back just to try the one after."""
        for _ in self._route.members:
            member_id = self._route.next_member(now_ms)
            if member_id is not None and lane.has_slot(member_id, now_ms):
                return member_id
        return None

    def _send(
        self, lane: Lane, member_id: MemberId, count_max: int, now_ms: int, calls: list[Call], *, asked: bool = False
    ) -> bool:
        """One call; False when the session's window is full."""
        batch = lane.take(member_id, count_max, asked=asked)
        if lane.kind is Kind.COMMAND:
            unnumbered = [operation for operation in batch if not self._number(operation, now_ms)]
            for operation in reversed(unnumbered):
                lane.wait(operation, first=True)
            batch = [operation for operation in batch if operation.sequence is not None]
            if not batch and unnumbered:
                return False
        if not batch:
            return True  # all that waited has an attempt there already
        listen_ms = min(self._limits.call_ms, max(operation.deadline_ms for operation in batch) - now_ms)
        rounds = max(operation.rounds for operation in batch)
        call = Call(
            number=next(self._call_numbers),
            kind=lane.kind,
            member_id=member_id,
            operations=tuple(batch),
            data=wire.encode(lane.kind, batch, max(1, listen_ms)),
            patient_until_ms=now_ms + (self._limits.attempt_ms << min(rounds, 2)),
            overdue_at_ms=now_ms + listen_ms + self._limits.attempt_ms,
        )
        for operation in batch:
            operation.attempts += 1
            operation.attempts_in_session += 1
            operation.tried.add(member_id)
            operation.open[call.number] = call
        self._calls[call.number] = call
        lane.began(call, now_ms)
        calls.append(call)
        return True

    def _number(self, operation: Operation, now_ms: int) -> bool:
        """Give a command its place in the present session, unless it has one; False: the window is full."""
        if operation.sequence is None:
            if not self._session.has_room(self._limits.commands_max):
                return False
            operation.session, operation.sequence = self._session, self._session.begin()
        self._session_used_ms = now_ms
        return True

    def _session_is_ready(self, waiting: Operation, now_ms: int) -> bool:
        """Whether commands can be sent, to whomever. A session needs an applied index first, which costs one read.

        The read goes to the leader, so the index is fresh, and the first command need not look for the leader: were it
        refused and tried again, an expired session could not be told from a lost answer.
        """
        idle = self._session_used_ms is not None and now_ms - self._session_used_ms >= self._limits.session_idle_ms
        if idle and self._session.unfinished_count == 0:
            self._session = Session(self._draw_client_id())
            self._session_used_ms = None
        if self._session.opens is None and self._first_contact is None:
            number = next(self._own_numbers)
            timeout_ms = max(1, waiting.deadline_ms - now_ms)
            self.begin(number, Kind.READ, FIRST_CONTACT, timeout_ms, now_ms)
            self._first_contact = self._operations[number]
        return self._session.opens is not None

    def _doubt(self, call: Call, now_ms: int) -> None:
        """The call is silent: ask all servers about what it carries."""
        self._route.silent(call.member_id, now_ms)
        lane = self._lanes[call.kind]
        retriable = [operation for operation in call.operations if self._may_retry(operation)]
        for operation in retriable:
            operation.rounds += 1
            lane.wait(operation, first=True)
        lane.ask_all(retriable, self._route.members)

    def _may_retry(self, operation: Operation) -> bool:
        """Whether another attempt may be made; if not because its session expired, it can only wait for open ones."""
        if operation.ended or operation.final is not None:
            return False
        if operation.session not in (None, self._session):
            operation.final = outcomes.session_lost
            self._lanes[operation.kind].forget(operation)
            return False
        return True

    # -- answers --------------------------------------------------------------------------------------------------

    def not_sent(self, call_number: int, now_ms: int) -> None:
        """The call could not begin: its attempts never left."""
        call = self._over(call_number)
        if call is not None:
            self._route.silent(call.member_id, now_ms)
            self._lanes[call.kind].backoff.grow(now_ms)
            for operation in call.operations:
                operation.attempts -= 1
                operation.attempts_in_session -= 1
                self._go_on(operation, now_ms)

    def answered(self, call_number: int, data: bytes | None, now_ms: int) -> None:
        """What the server said; None: the call failed, and the server may have obeyed or may yet.

        Whatever makes no sense is no answer. A second answer to one call is ignored.
        """
        call = self._over(call_number)
        if call is None:
            return
        answers = wire.decode(call, data)
        lane = self._lanes[call.kind]
        if answers is None:
            was_trusted = self._route.silent(call.member_id, now_ms)
            lane.backoff.grow(now_ms)
            for operation in call.operations:
                operation.unknown = True
                self._go_on(operation, now_ms)
            if was_trusted:  # perhaps the answer alone was lost: everybody else would name this one
                again = [each for each in call.operations if each.final is None and not each.ended]
                lane.ask_all(again, (call.member_id,))
            return
        self._route.spoke(call.member_id)
        led_before = self._route.leader
        refused = False
        for operation, answer in zip(call.operations, answers, strict=True):
            refused |= self._take(operation, answer, call.member_id, now_ms)
        if refused and self._route.leader in (None, call.member_id):
            lane.backoff.grow(now_ms)
        elif self._route.leader not in (None, led_before):
            for waiting_lane in self._lanes.values():
                waiting_lane.backoff.until_ms = 0  # it waited for a leader, and there is one

    def _take(self, operation: Operation, answer: Answer | QueryAnswer, member_id: MemberId, now_ms: int) -> bool:
        """One answer to one attempt; True when it was refused, whatever the reason."""
        match answer:
            case Done(result=result, term=term):
                self._succeeded(operation, member_id)
                if operation.session is not None:
                    operation.session.answered()
                self._end(operation, result, server=member_id, term=term)
                return False
            case QueryDone(result=result, applied_index=applied_index):
                self._session.learn(applied_index)
                self._succeeded(operation, member_id)
                self._end(operation, result, server=member_id)
                return False
            case NotLeader(leader=leader):
                operation.overloaded = False
                self._route.refused(member_id, leader, now_ms)
            case Overloaded() | WindowExceeded():
                operation.overloaded = True
            case Lost():
                pass
            case Unknown() | Fenced():
                operation.unknown = True
            case SessionExpired(applied_index=applied_index):
                self._expired(operation, applied_index)
            case LogFull():
                operation.final = operation.final or outcomes.log_full
            case TooLarge(bytes_max=bytes_max):
                operation.final = operation.final or partial(outcomes.too_large, bytes_max=bytes_max)
            case QueryFailed(why=why):
                operation.final = operation.final or partial(outcomes.query_failed, why=why)
                if operation is self._first_contact:
                    # This machine does not take our question. Index 0 opens a session where none was ever dropped;
                    # elsewhere the first command learns the index from `SessionExpired`.
                    self._session.learn(0)
            case _:
                assert_never(answer)
        self._go_on(operation, now_ms)
        return True

    def _succeeded(self, operation: Operation, member_id: MemberId) -> None:
        if operation.kind is not Kind.STALE:
            self._route.leads(member_id)
        self._lanes[operation.kind].backoff.reset()

    def _expired(self, operation: Operation, applied_index: int) -> None:
        """The group does not know the session any more; its id is never used again.

        Fresh, with exactly one attempt under the lost session, the command was not applied and never will be: what
        opened the session cannot open it again. Issued anew in the next one. With two, one may have been applied
        before the session was dropped.
        """
        if operation.session is self._session:
            self._session = Session(self._draw_client_id(), opens=applied_index)
        if operation.ended:
            return
        if operation.attempts_in_session == 1:
            self._leave_session(operation)
        else:
            operation.final = operation.final or outcomes.session_lost

    def _leave_session(self, operation: Operation) -> None:
        if operation.session is not None and operation.sequence is not None:
            operation.session.end(operation.sequence)
        operation.session = operation.sequence = None
        operation.attempts_in_session = operation.attempt_number = 0

    def _go_on(self, operation: Operation, now_ms: int) -> None:
        """An attempt ended without success: try again, unless there is no use."""
        if operation.ended:
            return
        if operation.final is None and operation.session not in (None, self._session):
            if operation.attempts_in_session <= 1 and not operation.can_still_happen:
                self._leave_session(operation)  # its session expired beside it; this one attempt was refused
            else:
                operation.final = outcomes.session_lost
        if operation.final is None:
            self._lanes[operation.kind].wait(operation, first=True)
            return
        self._lanes[operation.kind].forget(operation)
        if not operation.open:
            self._end(operation, operation.final(operation))

    def _over(self, call_number: int) -> Call | None:
        call = self._calls.pop(call_number, None)
        if call is not None:
            self._lanes[call.kind].over(call)
            for operation in call.operations:
                operation.open.pop(call_number, None)
        return call

    def _end(
        self, operation: Operation, result: Result, *, server: MemberId | None = None, term: Term | None = None
    ) -> None:
        if operation.ended:
            return  # a late answer
        operation.ended = True
        del self._operations[operation.number]
        self._lanes[operation.kind].forget(operation)
        if operation.session is not None and operation.sequence is not None:
            operation.session.end(operation.sequence)
        if operation is self._first_contact:
            self._first_contact = None
            return
        report = OperationReport(attempts=operation.attempts, server=server, leader=self._route.leader, term=term)
        self._ended.append(Ended(number=operation.number, result=result, report=report))
