"""One start of a peer: the product's engine, and what its threads do, as happenings in simulated time.

Here:   `PeerProcess` (the engine's `Ports`, timers, the calls of other peers and of its application), `WatchedEngine`,
        which tells the world of every event.
Never:  decisions of a peer (raft_actors), its writes (disk_daemon.py), when a process starts or ends (member.py), what
        must be true (checks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from raft_actors.application import exchange
from raft_actors.core.effects import Persist, Record
from raft_actors.core.events import Event, HeartbeatDue, HelloReceived, ReplyReceived, RequestReceived
from raft_actors.core.messages import Envelope
from raft_actors.core.state import State
from raft_actors.core.types import EntryId, MemberId, RequestId, Role, RpcId
from raft_actors.envelopes import decode_envelope, encode_envelope
from raft_actors.faults.rules import Message, Part
from raft_actors.peer.chains import ChainReport
from raft_actors.peer.engine import Engine
from raft_actors.peer.feed import ApplyCall
from raft_actors.peer.peer import ASK_TIMEOUT_MS
from raft_actors.peer.perform import METHODS
from raft_actors.peer.runtime import TICK_S
from raft_actors.storage.interface import Storage
from tests.sim.checks import Violation
from tests.sim.disk_daemon import DiskDaemon
from tests.sim.link import Link
from tests.sim.timeline import Process

if TYPE_CHECKING:
    from tests.sim.member import Member

TICK_SOON_US: Final = int(TICK_S * 1_000_000)
TICK_IDLE_MS: Final = 150
"""The owner looks every 20 ms; where nothing waits for its look, it may as well look late."""

REQUEST, REPLY = Part.REQUEST, Part.REPLY


@dataclass(slots=True)
class Asked:
    """A request of another peer that is not answered yet."""

    caller: PeerProcess
    rpc_id: RpcId
    received_ms: int
    request: Envelope
    own_last: EntryId
    """Where the log ended that a vote request was held against."""


class WatchedEngine(Engine):
    """The product's engine; after every event the world looks."""

    def __init__(self, process: PeerProcess, **parts: Any) -> None:
        self._process = process
        self._world = process.member.world
        super().__init__(**parts)

    def handle(self, event: Event) -> None:
        if type(event) is ReplyReceived:
            observed = self._world.watch.before_reply(self.state, event)
            Engine.handle(self, event)
            self._world.watch.after_reply(self.state, event, observed)
        else:
            Engine.handle(self, event)
        self._world.after_event(self._process, event)


class PeerProcess(Process):
    """From its start to its end. Implements the engine's `Ports`."""

    def __init__(self, member: Member, storage: Storage) -> None:
        super().__init__(str(member.member_id))
        self.member = member
        self.storage = storage
        self.link: Link | None = None
        """To the application that is attached."""
        self.links: list[Link] = []
        """All connections there were; an ended one is closed again for nothing."""
        self.open_calls: dict[RpcId, MemberId] = {}
        """Calls to other peers that have not ended."""
        self.asked: dict[RequestId, Asked] = {}
        self.reads: dict[int, tuple[Link, int]] = {}
        self.proposals: dict[int, tuple[Link, int]] = {}
        self._disk = DiskDaemon(self)
        self.commit_index = 0
        self._numbers = 0
        self._timer_us: int | None = None
        self._tick_us = 0
        self._beating = False
        self._engine: WatchedEngine | None = None
        self._timeline = member.world.timeline
        self._dice = member.world.dice
        world, found = member.world, storage.recovered
        state = State.restore(
            settings=world.options.config.core(),
            member_id=member.member_id,
            incarnation=found.incarnation,
            genesis=world.genesis,
            hard_state=found.hard_state,
            entries=found.entries,
        )
        self._engine = self.engine = WatchedEngine(
            self,
            state=state,
            genesis=world.genesis,
            config=world.options.config,
            clock=member.clock,
            dice=world.dice,
            ports=self,
        )
        self.engine.log_bytes = storage.log_bytes
        self.timers_changed()
        self._tick_at(TICK_IDLE_MS * 1000)

    # -- timers -------------------------------------------------------------------------------------------------------

    def timers_changed(self) -> None:
        engine = self._engine
        if engine is None:
            return  # it is being made
        deadline = engine.election_timer.deadline
        if deadline is not None:
            delay_us = self.member.clock.until_us(deadline.at_ms)
            at_us = self._timeline.now_us + delay_us
            if self._timer_us is None or at_us < self._timer_us:
                self._timer_us = at_us
                self._timeline.after(delay_us, self, self._timer_fires, at_us)
        if engine.state.role is Role.LEADER and not self._beating:
            self._beating = True
            interval_us = self._interval_us()
            self._timeline.after(int(self._dice.random() * interval_us), self, self._beat)

    def _timer_fires(self, at_us: int) -> None:
        if at_us != self._timer_us:
            return  # an earlier one was set meanwhile
        self._timer_us = None
        deadline = self.engine.election_timer.deadline
        if deadline is not None and deadline.at_ms <= self.member.clock.now_ms():
            self.engine.election_due()
        self.timers_changed()

    def _interval_us(self) -> int:
        clock = self.member.clock
        return clock.until_us(clock.now_ms() + self.member.world.options.config.heartbeat_interval_ms)

    def _beat(self) -> None:
        if self.engine.state.role is not Role.LEADER:
            self._beating = False
            return
        self.engine.handle(HeartbeatDue(now_ms=self.member.clock.now_ms()))
        self._timeline.after(self._interval_us(), self, self._beat)

    def tick_soon(self) -> None:
        """Something waits for the owner's next look."""
        if self._tick_us > self._timeline.now_us + TICK_SOON_US:
            self._tick_at(int(self._dice.random() * TICK_SOON_US))

    def _tick_at(self, delay_us: int) -> None:
        self._tick_us = self._timeline.now_us + delay_us
        self._timeline.after(delay_us, self, self._tick, self._tick_us)

    def _tick(self, at_us: int) -> None:
        if at_us == self._tick_us:
            self._tick_at(TICK_IDLE_MS * 1000)
            self.engine.tick()

    # -- disk ---------------------------------------------------------------------------------------------------------

    def write(self, persist: Persist) -> None:
        self._disk.write(persist)

    @property
    def writing(self) -> list[Record] | None:
        """Records on their way to the disk."""
        return self._disk.writing

    # -- network ------------------------------------------------------------------------------------------------------

    def call(self, rpc_id: RpcId, envelope: Envelope) -> None:
        self.member.world.checks.called(self.member, rpc_id, envelope)
        self.open_calls[rpc_id] = envelope.to
        if self._disk.tells_durable:
            self.member.world.watch.held_for_write()
        self._send_call(envelope.to, METHODS[type(envelope.message)], rpc_id, envelope)

    def _send_call(self, to: MemberId, method: str, rpc_id: RpcId, content: Any) -> None:
        world = self.member.world
        if world.options.codec:
            content = encode_envelope(content)
        callee = world.members[to]
        world.network.send(
            Message(self.member.member_id, to, method, REQUEST),
            None,
            lambda content: callee.arrives(self, rpc_id, content),
            content,
            lambda delay_us: self.fail_call(rpc_id, delay_us),
        )

    def fail_call(self, rpc_id: RpcId, delay_us: int) -> None:
        """Our call to another peer brings no answer; we learn so after a while."""
        self._timeline.after(delay_us, self, self._call_ended, rpc_id, None)

    def _call_ended(self, rpc_id: RpcId, content: Any) -> None:
        to = self.open_calls.pop(rpc_id, None)
        if to is None and content is None:
            return  # an answer came first
        if to is None:
            return  # Ray ends a call once
        self.member.world.checks.call_ended(self.member, rpc_id)
        envelope = decode_envelope(content) if type(content) is bytes else content
        self.engine.call_ended(rpc_id, to, envelope)

    def receive(self, caller: PeerProcess, rpc_id: RpcId, content: Any) -> None:
        """Another peer's request arrives."""
        envelope: Envelope = decode_envelope(content) if type(content) is bytes else content
        self._numbers += 1
        request_id, now_ms = RequestId(self._numbers), self.member.clock.now_ms()
        self.member.world.checks.received(self.member, request_id, envelope)
        self.asked[request_id] = Asked(caller, rpc_id, now_ms, envelope, self.engine.state.log.last)
        self.engine.handle(RequestReceived(now_ms=now_ms, request_id=request_id, envelope=envelope))

    def answer(self, request_id: RequestId, envelope: Envelope | None) -> None:
        asked = self.asked.pop(request_id, None)
        world = self.member.world
        world.checks.answered(self.member, request_id, envelope)
        assert asked is not None, f"request {request_id} is not known"
        late = self.member.clock.now_ms() - asked.received_ms >= world.options.config.rpc_deadline_ms
        if envelope is None or late:  # the thread that carried the request has given up
            asked.caller.fail_call(asked.rpc_id, world.network.latency_us())
            return
        if self._disk.tells_durable:
            world.watch.held_for_write()
        world.watch.answers(asked.request, asked.own_last, envelope)
        caller, rpc_id = asked.caller, asked.rpc_id
        world.network.send(
            Message(self.member.member_id, caller.member.member_id, METHODS[type(asked.request.message)], REPLY),
            caller,
            lambda content: caller._call_ended(rpc_id, content),
            encode_envelope(envelope) if world.options.codec else envelope,
            lambda delay_us: caller.fail_call(rpc_id, delay_us),
        )

    def report_chains(self, to: MemberId, report: ChainReport) -> None:
        callee = self.member.world.members[to]
        self._tell(to, "report_chains", lambda peer: peer.engine.chains_reported(report), callee)

    def say_hello(self) -> None:
        """Tell all others that this member has (re)started."""
        state = self.engine.state
        for to, callee in self.member.world.members.items():
            if to != self.member.member_id:
                self._tell(to, "hello", lambda peer: peer.hear_hello(state), callee)

    def hear_hello(self, state: State) -> None:
        """Another peer has (re)started."""
        self.engine.handle(
            HelloReceived(
                now_ms=self.member.clock.now_ms(),
                cluster_id=state.cluster_id,
                sender=state.member_id,
                incarnation=state.incarnation,
            )
        )

    def _tell(self, to: MemberId, method: str, act: Any, callee: Member) -> None:
        message = Message(self.member.member_id, to, method, REQUEST)
        self.member.world.network.send(message, None, callee.is_told, act, None)

    # -- application --------------------------------------------------------------------------------------------------

    def application_attaches(self, link: Link, request: exchange.Attach) -> None:
        """Whoever was attached is cut off."""
        before, self.link = self.link, link
        if before is not None and before is not link:
            before.close()
        attached = self.engine.attach(request)
        link.to_server(link.server.peer_attached, link, attached)
        self.tick_soon()

    def application_applied(self, link: Link, call_id: int, answer: exchange.ApplyAnswer) -> None:
        """An apply call was answered."""
        if call_id in link.applies:
            link.applies.discard(call_id)
            self.engine.applied(call_id, answer)

    def application_proposes(self, link: Link, number: int, data: bytes) -> None:
        """It wants one entry in the log."""
        self._numbers += 1
        proposal_id = self._numbers
        self.proposals[proposal_id] = (link, number)
        if len(data) > self.member.world.options.config.proposal_bytes_max:
            self.proposal_ended(proposal_id, exchange.Overloaded())
        else:
            self.engine.propose(proposal_id, data)

    def application_reads(self, link: Link, number: int) -> None:
        """It wants to know from which index on a state is new enough."""
        self._numbers += 1
        read_id = self._numbers
        self.reads[read_id] = (link, number)
        self.engine.read(read_id)
        if read_id in self.reads:
            clock = self.member.clock
            late_us = clock.until_us(clock.now_ms() + ASK_TIMEOUT_MS) + self._interval_us()
            self._timeline.after(late_us, self, self._read_is_late, read_id)

    def _read_is_late(self, read_id: int) -> None:
        waiting = self.reads.get(read_id)
        if waiting is not None:
            self.engine.abandon_read(read_id)
            if self.reads.pop(read_id, None) is not None:
                link, number = waiting
                link.to_server(link.server.read_answered, link, number, None)

    def application_gone(self, link: Link) -> None:
        """This link has ended."""
        applies, link.applies = sorted(link.applies), set()
        for call_id in applies:
            self.engine.applied(call_id, None)
        if self.link is link:
            self.link = None
            self.engine.application_gone()

    def apply(self, call: ApplyCall) -> None:
        link = self.link
        if link is not None:
            link.applies.add(call.call_id)
            link.to_server(link.server.peer_applies, link, call, work=True)

    def term_lost(self, news: exchange.TermLost) -> None:
        link = self.link
        if link is not None:
            link.to_server(link.server.peer_lost_term, news)

    def proposal_ended(self, proposal_id: int, answer: exchange.ProposeAnswer) -> None:
        link, number = self.proposals.pop(proposal_id)  # a second answer is a KeyError
        link.to_server(link.server.proposal_answered, link, number, answer)

    def read_ended(self, read_id: int, answer: exchange.ReadAnswer) -> None:
        self.member.world.watch.read_ended(answer)
        waiting = self.reads.pop(read_id, None)
        if waiting is not None:  # else given up
            link, number = waiting
            link.to_server(link.server.read_answered, link, number, answer)

    # -- the rest -----------------------------------------------------------------------------------------------------

    def note(self, kind: str, details: dict[str, object]) -> None:
        world = self.member.world
        if kind == "role":
            self.member.world.watch.role_changed(self.member, details)
            world.tell(self.name, f"{details['role']} term={details['term']} ({details['why']})")
            if details["role"] == "leader":
                world.nemesis.leader_elected()

    def failed(self, why: str) -> None:
        raise Violation("no member fails", f"member {self.name}: {why}")
