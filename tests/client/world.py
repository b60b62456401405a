"""A group without a network, a disk or time: real application hosts that share one instant log; and a rig for engines.

Here:   `FakeGroup`, `Rig` (an engine under a manual clock), `FakeServers` (the same group, for the sender's thread).
Never:  assertions about the client.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from raft_actors.application.exchange import CommittedEntry, EntryKind, LogFull, NotLeader, Overloaded, Started
from raft_actors.application.frames import ClientId
from raft_actors.application.host import ApplicationHost
from raft_actors.application.limits import Ticket
from raft_actors.application.machine import StateMachine
from raft_actors.application.requests import (
    ANSWERS,
    QUERY,
    QUERY_ANSWERS,
    SUBMIT,
    Answer,
    Query,
    QueryAnswer,
    Submit,
)
from raft_actors.application.settings import SessionLimits
from raft_actors.client.engine import Engine
from raft_actors.client.limits import ClientLimits
from raft_actors.client.operation import Call, Ended, Kind
from raft_actors.core.types import LogIndex, MemberId, Term
from tests.application.builders import EPOCH, Journal, apply_request

FOREVER_MS = 10**9


class FakeGroup:
    """Members 0, 1 ...; whoever is `leader` appends and everyone applies at once."""

    def __init__(
        self,
        size: int = 3,
        *,
        machine: Callable[[], StateMachine] = Journal,
        sessions: SessionLimits | None = None,
    ) -> None:
        self.members = tuple(MemberId(number) for number in range(size))
        self.machines = [machine() for _ in self.members]
        self.hosts = [ApplicationHost(machine, sessions or SessionLimits()) for machine in self.machines]
        for host in self.hosts:
            host.attach(EPOCH)
        self.leader: MemberId | None = MemberId(0)
        self.hints: dict[int, int | None] = {}
        """What a follower names instead of the true leader."""
        self.refusal: LogFull | Overloaded | None = None
        """What the leader's peer says to proposals."""
        self.term = Term(1)
        self.stamp_ms = 0
        self.index = LogIndex(0)
        self.batches: list[tuple[int, int]] = []
        """(member, number of attempts or queries) of every call that was served."""
        self._tickets = 0

    def elect(self, leader: int | None) -> None:
        self.leader = None if leader is None else MemberId(leader)
        self.term = Term(self.term + 1)

    def submit(self, member_id: int, data: bytes) -> bytes:
        request: Submit = SUBMIT.decode(data)
        self.batches.append((member_id, len(request.attempts)))
        if member_id != self.leader:
            return ANSWERS.encode((self._not_leader(member_id),) * len(request.attempts))
        host = self.hosts[member_id]
        tickets = [self._ticket() for _ in request.attempts]
        for ticket, attempt in zip(tickets, request.attempts, strict=True):
            host.submit(ticket, attempt, FOREVER_MS)
        while (proposal := host.next_proposal()) is not None:
            if self.refusal is not None:
                host.proposal_answered(proposal.proposal_id, self.refusal)
                continue
            self.index = LogIndex(self.index + 1)
            host.proposal_answered(proposal.proposal_id, Started(index=self.index, term=self.term))
            self._apply(proposal.data)
        ended = dict(host.take_answers()[0])
        answers: tuple[Answer, ...] = tuple(ended[ticket] for ticket in tickets)
        return ANSWERS.encode(answers)

    def query(self, member_id: int, data: bytes) -> bytes:
        request: Query = QUERY.decode(data)
        self.batches.append((member_id, len(request.requests)))
        if request.linearizable and member_id != self.leader:
            return QUERY_ANSWERS.encode((self._not_leader(member_id),) * len(request.requests))
        host = self.hosts[member_id]
        tickets = [self._ticket() for _ in request.requests]
        for ticket, query in zip(tickets, request.requests, strict=True):
            host.read(ticket, query, LogIndex(0), FOREVER_MS)
        ended = dict(host.take_answers()[1])
        answers: tuple[QueryAnswer, ...] = tuple(ended[ticket] for ticket in tickets)
        return QUERY_ANSWERS.encode(answers)

    def serve(self, member_id: int, method: str, data: bytes) -> bytes:
        return self.submit(member_id, data) if method == "submit" else self.query(member_id, data)

    def _apply(self, data: bytes) -> None:
        entry = CommittedEntry(term=self.term, stamp_ms=self.stamp_ms, kind=EntryKind.COMMAND, data=data)
        for host in self.hosts:
            host.apply(apply_request(self.index, entry))

    def _not_leader(self, member_id: int) -> NotLeader:
        named = self.hints.get(member_id, self.leader)
        return NotLeader(leader=None if named is None else MemberId(named))

    def _ticket(self) -> Ticket:
        self._tickets += 1
        return Ticket(self._tickets)


@dataclass
class Rig:
    """One engine and a group. `pump` carries calls until nothing moves; `fate` may say otherwise.

    `fate(call)` gives "deliver", "lose" (not delivered, no answer ever), "mute" (delivered, no answer ever), "break"
    (delivered, the call fails), "refuse" (it could not begin) or "hold" (neither yet: see `held`).
    """

    group: FakeGroup = field(default_factory=FakeGroup)
    limits: ClientLimits = field(default_factory=ClientLimits)
    fate: Callable[[Call], str] = lambda call: "deliver"
    seed: int = 1
    now_ms: int = 0
    first_id: int = 1
    """The client ids are drawn from here up."""

    def __post_init__(self) -> None:
        self._ids = count(self.first_id)
        self.engine = Engine(self.limits, random.Random(self.seed), self._draw)
        self.engine.know(self.group.members)
        self.calls: list[Call] = []
        self.held: list[Call] = []
        self.outcomes: dict[int, Ended] = {}
        self._numbers = 0

    def _draw(self) -> ClientId:
        return ClientId(next(self._ids).to_bytes(16, "big"))

    def submit(self, command: bytes = b"x", timeout_ms: int = 5_000) -> int:
        return self._begin(Kind.COMMAND, command, timeout_ms)

    def read(self, request: bytes = b"?", timeout_ms: int = 5_000) -> int:
        return self._begin(Kind.READ, request, timeout_ms)

    def stale(self, request: bytes = b"?", timeout_ms: int = 5_000) -> int:
        return self._begin(Kind.STALE, request, timeout_ms)

    def _begin(self, kind: Kind, request: bytes, timeout_ms: int) -> int:
        self._numbers += 1
        self.engine.begin(self._numbers, kind, request, timeout_ms, self.now_ms)
        return self._numbers

    def pump(self) -> None:
        """Everything that happens at this moment."""
        self.engine.tick(self.now_ms)
        while calls := self.engine.next_calls(self.now_ms):
            for call in calls:
                self.calls.append(call)
                self.carry(call, self.fate(call))
        for ended in self.engine.take_ended():
            assert ended.number not in self.outcomes, f"operation {ended.number} ended twice"
            self.outcomes[ended.number] = ended

    def carry(self, call: Call, fate: str) -> None:
        match fate:
            case "deliver":
                self.engine.answered(call.number, self._serve(call), self.now_ms)
            case "mute":
                self._serve(call)
            case "break":
                self._serve(call)
                self.engine.answered(call.number, None, self.now_ms)
            case "refuse":
                self.engine.not_sent(call.number, self.now_ms)
            case "hold":
                self.held.append(call)
            case _:
                assert fate == "lose", fate

    def _serve(self, call: Call) -> bytes:
        return self.group.serve(call.member_id, call.kind.method, call.data)

    def deliver_held(self) -> None:
        """What was held up arrives now, answers and all."""
        held, self.held = self.held, []
        for call in held:
            self.carry(call, "deliver")
        self.pump()

    def pass_time(self, ms: int) -> None:
        """Let the time pass in the steps that the engine asks for."""
        until_ms = self.now_ms + ms
        self.pump()
        while self.now_ms < until_ms:
            tick_ms = self.engine.next_tick_ms(self.now_ms)
            assert tick_ms is None or tick_ms > self.now_ms, "the engine asks to be called again and again"
            self.now_ms = until_ms if tick_ms is None else min(until_ms, tick_ms)
            self.pump()

    def result(self, number: int) -> Any:
        return self.outcomes[number].result

    def connected(self) -> Rig:
        """The same, with the session open and the leader known."""
        number = self.submit(b"first")
        self.pass_time(1_000)
        assert isinstance(self.result(number), bytes)
        self.calls.clear()
        self.group.batches.clear()
        return self


class FakeServers:
    """`Servers` in front of a `FakeGroup`, answered at once and in the calling thread, or at `release`, or never."""

    def __init__(self, group: FakeGroup | None = None) -> None:
        self.group = group or FakeGroup()
        self.answering = True
        self.holding = False
        self.closed = False
        self.was_told_to_look = threading.Event()
        self._held: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def look_again(self) -> None:
        self.was_told_to_look.set()

    def members(self) -> tuple[MemberId, ...]:
        return self.group.members

    def begin(self, member_id: MemberId, method: str, data: bytes, done: Callable[[bytes | None], None]) -> bool:
        def serve() -> None:
            with self._lock:
                answer = self.group.serve(member_id, method, data)
            done(answer)

        if self.holding:
            self._held.put(serve)
        elif self.answering:
            serve()
        return True

    def release(self) -> None:
        """Answer the next call that is or will be held."""
        self._held.get(timeout=30.0)()

    def handles(self, timeout_s: float) -> list[Any]:
        return [f"handle {member_id}" for member_id in self.group.members]

    def close(self) -> None:
        self.closed = True
