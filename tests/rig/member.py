"""One member of a pumped group: the product's engine, storage and application host, and what waits between them.

Here:   the engine's world (`Ports`) as queues that the rig empties, the application beside the peer, starts and ends.
Never:  when anything happens (rig.py), what must be true (tests/sim/checks).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from raft_actors.application import exchange
from raft_actors.application.exchange import ATTACH, ATTACH_ANSWER, Attach, Attached, ClusterId, Epoch
from raft_actors.application.host import ApplicationHost, ApplicationStopped
from raft_actors.application.limits import Ticket
from raft_actors.application.requests import Answer, Attempt, QueryAnswer
from raft_actors.application.settings import decode_settings
from raft_actors.config import RaftConfig
from raft_actors.core.effects import Persist, Record
from raft_actors.core.entries import Genesis
from raft_actors.core.messages import Envelope
from raft_actors.core.state import State
from raft_actors.core.types import DirectoryId, LogIndex, MemberId, RequestId, RpcId
from raft_actors.envelopes import encode_envelope
from raft_actors.peer.chains import CHAIN_REPORT, ChainReport
from raft_actors.peer.engine import Engine
from raft_actors.peer.feed import ApplyCall
from raft_actors.peer.perform import METHODS
from raft_actors.storage.interface import Storage
from tests.application.builders import Journal
from tests.rig.network import Flight, Network, Part
from tests.sim.checks import Checks

LATE_MS = 10**12


class ManualClock:
    """Stands still until the rig moves it."""

    def __init__(self) -> None:
        self.time_ms = 10_000

    def now_ms(self) -> int:
        return self.time_ms


class Application:
    """The process beside the peer: a journal of commands behind the product's host."""

    def __init__(self, settings: bytes) -> None:
        self.journal = Journal()
        self.host = ApplicationHost(self.journal, decode_settings(settings).sessions)
        self.cluster_id: ClusterId | None = None
        self.answers: dict[int, Answer] = {}
        self.query_answers: dict[int, QueryAnswer] = {}
        self.ticket_count = 0

    def take_answers(self) -> None:
        """Note who got an answer."""
        answers, query_answers = self.host.take_answers()
        for ticket, answer in answers:
            assert ticket not in self.answers, f"ticket {ticket} was answered twice"
            self.answers[ticket] = answer
        self.query_answers.update(query_answers)


@dataclass(slots=True, kw_only=True)
class Read:
    """A read at the peer's door, and its answer once there is one."""

    must_see: int
    """Committed, and perhaps acknowledged, when the read arrived."""
    answer: exchange.ReadAnswer | None = None


@dataclass(slots=True)
class Waiting:
    """What the engine asked for and the rig has not done yet."""

    writes: list[Persist] = field(default_factory=list)
    application_calls: list[ApplyCall | exchange.TermLost] = field(default_factory=list)
    requests: dict[RequestId, Flight] = field(default_factory=dict)
    """Received and not answered."""


class Member:
    """A place in the group. Implements the engine's `Ports`; the checks see it as it is (`SimMember`)."""

    def __init__(self, member_id: MemberId, network: Network, tell: Callable[[str], None], checks: Checks) -> None:
        self.member_id = member_id
        self.directory_id: DirectoryId | None = None
        self.engine: Engine | None = None
        self.storage: Storage | None = None
        self.application: Application | None = None
        self.waiting = Waiting()
        self.disk_held = self.application_held = self.proposal_answers_held = False
        self.held_proposal_answers: list[tuple[int, exchange.ProposeAnswer]] = []
        self.reads: dict[int, Read] = {}
        self.notes: list[tuple[str, dict[str, object]]] = []
        self.failure: str | None = None
        self.beaten_ms = 0
        self.start = 0
        self._writing: tuple[Record, ...] = ()
        self._request_count = 0
        self._proposal_count = 0
        self._proposal_answers: dict[int, exchange.ProposeAnswer] = {}
        self._network = network
        self._tell = tell
        self._checks = checks

    # -- life ---------------------------------------------------------------------------------------------------------

    def begin(
        self, storage: Storage, genesis: Genesis, config: RaftConfig, clock: ManualClock, dice: random.Random
    ) -> None:
        """A process starts on a disk: with what was durable, and nothing else."""
        found = storage.recovered
        self.directory_id = found.incarnation.directory_id
        self._checks.recovered(self.directory_id, found)
        if found.genesis is None:
            storage.write_genesis(genesis)  # as `join` or `bootstrap` do
        self.storage = storage
        self.waiting = Waiting()
        self.start += 1
        self.failure = None
        state = State.restore(
            settings=config.core(),
            member_id=self.member_id,
            incarnation=found.incarnation,
            genesis=genesis,
            hard_state=found.hard_state,
            entries=found.entries,
        )
        self.engine = Engine(state=state, genesis=genesis, config=config, clock=clock, dice=dice, ports=self)
        self._checks.started(self)

    def end(self) -> list[Flight]:
        """The process is gone, with all it held. Returns the requests that it will not answer."""
        self._checks.stopped(self, self._writing)
        self._writing = ()
        self.engine = self.storage = None
        requests = list(self.waiting.requests.values())
        self.waiting = Waiting()
        self.held_proposal_answers = []
        if self.application is not None:
            self.application.host.detach()
            self.application.take_answers()
        return requests

    def running(self) -> Engine:
        """The engine of a member that runs."""
        assert self.engine is not None, f"member {self.member_id} is down"
        return self.engine

    # -- disk ---------------------------------------------------------------------------------------------------------

    def write(self, persist: Persist) -> None:
        self.waiting.writes.append(persist)

    def sync(self, count: int | None = None) -> Callable[[Engine], None]:
        """The oldest writes, as one group; what the engine is to be told afterwards."""
        assert self.storage is not None
        count = len(self.waiting.writes) if count is None else count
        done, self.waiting.writes = self.waiting.writes[:count], self.waiting.writes[count:]
        records: list[Record] = [record for persist in done for record in persist.records]
        self._writing = tuple(records)
        self.storage.write(records)
        self._writing = ()
        self._checks.wrote(self.running().state.directory_id, records)
        seq, log_bytes = done[-1].seq, self.storage.log_bytes
        return lambda engine: engine.written(seq, log_bytes)

    # -- network ------------------------------------------------------------------------------------------------------

    def call(self, rpc_id: RpcId, envelope: Envelope) -> None:
        self._checks.called(self, rpc_id, envelope)
        method = METHODS[type(envelope.message)]
        self._network.send(
            Flight(
                src=self.member_id,
                dst=envelope.to,
                method=method,
                part=Part.REQUEST,
                data=encode_envelope(envelope),
                rpc_id=rpc_id,
                caller_start=self.start,
            )
        )

    def next_request(self, flight: Flight, envelope: Envelope) -> RequestId:
        """A request has arrived; its number."""
        self._request_count += 1
        request_id = RequestId(self._request_count)
        self.waiting.requests[request_id] = flight
        self._checks.received(self, request_id, envelope)
        return request_id

    def answer(self, request_id: RequestId, envelope: Envelope | None) -> None:
        self._checks.answered(self, request_id, envelope)
        request = self.waiting.requests.pop(request_id)
        self._network.send(reply_to(request, None if envelope is None else encode_envelope(envelope)))

    def report_chains(self, to: MemberId, report: ChainReport) -> None:
        data = CHAIN_REPORT.encode(report)
        self._network.send(Flight(src=self.member_id, dst=to, method="report_chains", part=Part.NOTICE, data=data))

    # -- application --------------------------------------------------------------------------------------------------

    def apply(self, call: ApplyCall) -> None:
        self.waiting.application_calls.append(call)

    def term_lost(self, news: exchange.TermLost) -> None:
        self.waiting.application_calls.append(news)

    def application_work(self) -> tuple[int, exchange.ApplyAnswer | None] | None:
        """Let the application work on the oldest call; its answer, or None for a notice."""
        call = self.waiting.application_calls.pop(0)
        application = self.application
        if isinstance(call, exchange.TermLost):
            if application is not None:
                application.host.term_lost(exchange.TERM_LOST.decode(exchange.TERM_LOST.encode(call)))
                application.take_answers()
            return None
        if application is None:
            return call.call_id, None
        try:
            answer = application.host.apply(exchange.APPLY.decode(exchange.APPLY.encode(call.request)))
        except ApplicationStopped:
            assert application.host.stopped is not None
            answer = application.host.stopped
        application.take_answers()
        return call.call_id, exchange.APPLY_ANSWER.decode(exchange.APPLY_ANSWER.encode(answer))

    def attach(self, epoch: Epoch, settings: bytes) -> Callable[[Engine], None]:
        """The application says that it is there; a new one if it has died."""
        if self.application is None:
            self.application = Application(settings)
        application = self.application
        request = Attach(
            epoch=epoch,
            cluster_id=application.cluster_id,
            applied_index=application.host.applied_index,
            checkpoints=application.host.checkpoints(),
        )

        def attach(engine: Engine) -> None:
            answer = ATTACH_ANSWER.decode(ATTACH_ANSWER.encode(engine.attach(ATTACH.decode(ATTACH.encode(request)))))
            assert isinstance(answer, Attached)
            assert answer.first_index == application.host.applied_index + 1
            application.cluster_id = answer.cluster_id
            application.host.attach(epoch)
            engine.tick()  # its entries follow behind the answer

        return attach

    def submit(self, attempt: Attempt) -> int:
        """A client's attempt arrives at the application."""
        assert self.application is not None
        self.application.ticket_count += 1
        self.application.host.submit(Ticket(self.application.ticket_count), attempt, LATE_MS)
        return self.application.ticket_count

    def proposed(self, answer: tuple[int, exchange.ProposeAnswer]) -> None:
        """The peer's answer reaches the application, now or when it is no longer held."""
        assert self.application is not None
        if self.proposal_answers_held:
            self.held_proposal_answers.append(answer)
        else:
            self.application.host.proposal_answered(*answer)
        self.application.take_answers()

    def release_proposal_answers(self) -> None:
        """Those that were held arrive."""
        self.proposal_answers_held = False
        answers, self.held_proposal_answers = self.held_proposal_answers, []
        for answer in answers:
            self.proposed(answer)

    # -- who asked ----------------------------------------------------------------------------------------------------

    def next_proposal_id(self) -> int:
        self._proposal_count += 1
        return self._proposal_count

    def proposal_ended(self, proposal_id: int, answer: exchange.ProposeAnswer) -> None:
        assert proposal_id not in self._proposal_answers, f"proposal {proposal_id} was answered twice"
        self._proposal_answers[proposal_id] = answer

    def proposal_answer(self, proposal_id: int) -> exchange.ProposeAnswer:
        """It comes within `Engine.propose`."""
        return self._proposal_answers[proposal_id]

    def read_ended(self, read_id: int, answer: exchange.ReadAnswer) -> None:
        read = self.reads[read_id]
        assert read.answer is None, f"read {read_id} was answered twice"
        read.answer = answer
        if isinstance(answer, exchange.ReadAt):
            assert answer.index >= read.must_see, f"stale read at {answer.index}: {read.must_see} was committed before"

    # -- the rest -----------------------------------------------------------------------------------------------------

    def timers_changed(self) -> None:
        """The rig looks at the timers itself."""

    def note(self, kind: str, details: dict[str, object]) -> None:
        self.notes.append((kind, details))
        if kind == "role":
            leader = details["leader"]
            self._tell(
                f"{self.member_id} {details['role']} term={details['term']}"
                + (f" follows {leader}" if leader not in (None, self.member_id) else "")
                + f" ({details['why']})"
            )
        elif kind == "config":
            self._tell(f"{self.member_id} configuration of {details['index']} in force")

    def failed(self, why: str) -> None:
        self.failure = why
        self._tell(f"{self.member_id} failed: {why}")

    @property
    def host(self) -> ApplicationHost | None:
        """The running application's."""
        return None if self.application is None else self.application.host

    def applied_index(self) -> LogIndex:
        """How far its application is."""
        return self.application.host.applied_index if self.application is not None else LogIndex(0)


def reply_to(request: Flight, data: bytes | None) -> Flight:
    """The way back."""
    return Flight(
        src=request.dst,
        dst=request.src,
        method=request.method,
        part=Part.REPLY,
        data=data,
        rpc_id=request.rpc_id,
        caller_start=request.caller_start,
    )
