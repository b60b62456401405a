"""One start of a peer: the product's engine, and what its threads do, as happenings in simulated time.

Here:   `PeerProcess` (the engine's `Ports`, the calls of other peers and of its application), `WatchedEngine`, which
        tells the world of every event.
Never:  decisions of a peer (raft_actors), its timers (timers.py), writes (disk_daemon.py), snapshots (filing.py,
        transfers.py), invitations (invitations.py), when a process starts or ends (member.py), what must be true
        (checks).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from raft_actors.application import exchange
from raft_actors.application.slices import SliceRequest
from raft_actors.core.effects import Persist, Record
from raft_actors.core.entries import SnapshotMeta
from raft_actors.core.events import Event, HelloReceived, ReplyReceived, RequestReceived, SnapshotStored
from raft_actors.core.messages import Envelope
from raft_actors.core.state import State
from raft_actors.core.types import DirectoryId, EntryId, LogIndex, MemberId, RequestId, RpcId
from raft_actors.envelopes import decode_envelope, encode_envelope
from raft_actors.faults.rules import Message, Part
from raft_actors.peer.chains import ChainReport
from raft_actors.peer.engine import Engine
from raft_actors.peer.feed import ApplyCall
from raft_actors.peer.filing import FilingOrder
from raft_actors.peer.peer import ASK_TIMEOUT_MS
from raft_actors.peer.perform import METHODS
from raft_actors.peer.snapshots import SaveAnswer, Saved
from raft_actors.storage.interface import Storage
from tests.sim.administration import Administration
from tests.sim.checks import Violation
from tests.sim.disk_daemon import DiskDaemon
from tests.sim.filing import FilingDaemon
from tests.sim.invitations import CallId, Invitation, Invitations
from tests.sim.link import Link
from tests.sim.options import Range
from tests.sim.timeline import Act, Process
from tests.sim.timers import Timers
from tests.sim.transfers import Fetch, Transfers

if TYPE_CHECKING:
    from tests.sim.member import Member

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
        if type(event) is SnapshotStored:
            self._world.watch.snapshot_stored(self.state, event.snapshot)
        if type(event) is ReplyReceived:
            observed = self._world.watch.before_reply(self.state, event)
            Engine.handle(self, event)
            self._world.watch.after_reply(self.state, event, observed)
        else:
            Engine.handle(self, event)
        self._world.after_event(self._process, event)


class PeerProcess(Administration, Process):
    """From its start to its end. Implements the engine's `Ports`."""

    def __init__(self, member: Member, storage: Storage) -> None:
        Process.__init__(self, member.name)
        Administration.__init__(self)
        self.member = member
        self.handles: dict[MemberId, Member] = {}
        """Of machines that have a successor, by the place that was theirs."""
        self.invitations = Invitations(self)
        self.storage = storage
        self.link: Link | None = None
        """To the application that is attached."""
        self.links: list[Link] = []
        """All connections there were; an ended one is closed again for nothing."""
        self.open_calls: dict[RpcId, tuple[MemberId, int]] = {}
        """Calls to other peers that have not ended: to whom, and when they were made."""
        self.asked: dict[RequestId, Asked] = {}
        self.reads: dict[int, tuple[Link, int]] = {}
        self.proposals: dict[int, Callable[[exchange.ProposeAnswer], object]] = {}
        """Who waits for what comes of each."""
        self.saves: set[int] = set()
        """Snapshots that were asked for by hand."""
        self.has_saved = False
        """Somebody was told that there is one of what he wanted."""
        self._disk = DiskDaemon(self)
        self._filing = FilingDaemon(self)
        self.transfers = Transfers(self)
        self._heard_us = 0
        """When the last news so far comes out of the inbox."""
        self.commit_index = 0
        self._numbers = 0
        self._timers: Timers | None = None
        """None: the engine is being made."""
        self._timeline = member.world.timeline
        self._dice = member.world.dice
        world, found = member.world, storage.recovered
        state = State.restore(
            settings=replace(world.options.config.core(), promotion_lag_max=world.options.promotion_lag_max),
            member_id=member.number,
            incarnation=found.incarnation,
            genesis=world.genesis,
            hard_state=found.hard_state,
            entries=found.entries,
            base=found.base,
            snapshot=found.snapshot,
        )
        self.engine = WatchedEngine(
            self,
            state=state,
            genesis=world.genesis,
            config=world.config_of(member.number),
            clock=member.clock,
            dice=world.dice,
            ports=self,
            log_bytes=storage.log_bytes,
        )
        self._timers = Timers(self)

    def timers_changed(self) -> None:
        if self._timers is not None:
            self._timers.changed()

    # -- disk ---------------------------------------------------------------------------------------------------------

    def write(self, persist: Persist) -> None:
        self._disk.write(persist)

    def compact(self, to: LogIndex) -> None:
        self._disk.compact(to)

    def file(self, order: FilingOrder) -> None:
        self._filing.file(order)

    @property
    def writing(self) -> list[Record] | None:
        """Records on their way to the disk."""
        return self._disk.writing

    @property
    def naming(self) -> SnapshotMeta | None:
        """Of the snapshot that gets its name right now."""
        return self._filing.naming

    def works(self) -> list[Callable[[], object]]:
        """What its daemons are at, in any order."""
        works: list[Callable[[], object]] = [self._disk.finish, self._filing.finish]
        self._dice.shuffle(works)
        return works

    def disk_us(self, usual: Range) -> int:
        """How long its disk takes for what begins now."""
        options = self.member.world.options
        stalls = self.member.stalled or (options.stall_probability and self._dice.random() < options.stall_probability)
        least, most = options.stall_us if stalls else usual
        took_us = least + int(self._dice.random() * (most - least))
        if took_us * 2 > options.config.check_quorum_ms * 1000:
            self.member.world.watch.count("disk stalled for long")
        return took_us

    def hears(self, act: Act, *arguments: Any) -> None:
        """News of another daemon: `act` happens when they come out of the inbox, in their order."""
        inbox_us = self.member.world.options.inbox_us[1]
        if not inbox_us:
            act(*arguments)
            return
        now_us = self._timeline.now_us
        self._heard_us = max(self._heard_us, now_us + int(self._dice.random() * inbox_us))
        self._timeline.after(self._heard_us - now_us, self, act, *arguments)

    # -- network ------------------------------------------------------------------------------------------------------

    def call(self, rpc_id: RpcId, envelope: Envelope) -> None:
        self.member.world.checks.called(self.member, rpc_id, envelope)
        self.open_calls[rpc_id] = envelope.to, self._timeline.now_us
        if self._disk.tells_durable:
            self.member.world.watch.held_for_write()
        self._send_call(envelope.to, METHODS[type(envelope.message)], rpc_id, envelope)

    def _send_call(self, to: MemberId, method: str, rpc_id: RpcId, content: Any) -> None:
        world = self.member.world
        if world.options.codec:
            content = encode_envelope(content)
        callee = world.callee(self, to)
        world.network.send(
            Message(self.member.member_id, callee.member_id, method, REQUEST),
            None,
            lambda content: callee.arrives(self, rpc_id, content),
            content,
            lambda delay_us: self.fail_call(rpc_id, delay_us),
        )

    def fail_call(self, rpc_id: CallId, delay_us: int) -> None:
        """Our call to another peer brings no answer; we learn so after a while."""
        self._timeline.after(delay_us, self, self.call_ended, rpc_id, None)

    def call_ended(self, rpc_id: CallId, content: Any) -> None:
        """Our call to another peer brought this; None: nothing."""
        if isinstance(rpc_id, Invitation):
            self.invitations.ended(rpc_id)
            return
        if isinstance(rpc_id, Fetch):
            self.transfers.ended(rpc_id, content)
            return
        call = self.open_calls.pop(rpc_id, None)
        if call is None:
            return  # Ray ends a call once: with its first answer
        self.member.world.checks.call_ended(self.member, rpc_id)
        envelope = decode_envelope(content) if type(content) is bytes else content
        self.engine.call_ended(rpc_id, call[0], envelope)

    def receive(self, caller: PeerProcess, rpc_id: CallId, content: Any) -> None:
        """Another peer's request arrives."""
        if isinstance(rpc_id, Invitation):  # we belong to the group
            caller.fail_call(rpc_id, self.member.world.network.latency_us())
            return
        if isinstance(rpc_id, Fetch):
            self.transfers.asked(caller, rpc_id, content)
            return
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
            lambda content: caller.call_ended(rpc_id, content),
            encode_envelope(envelope) if world.options.codec else envelope,
            lambda delay_us: caller.fail_call(rpc_id, delay_us),
        )

    def report_chains(self, to: MemberId, report: ChainReport) -> None:
        if report.agreed:
            self.member.world.watch.count("state chain agreed")
        self._tell(to, "report_chains", lambda peer: peer.engine.chains_reported(report))

    def say_hello(self) -> None:
        """Tell all others that this member has (re)started."""
        state = self.engine.state
        for line in state.configurations.others(state.member_id):
            self._tell(line.member_id, "hello", lambda peer: peer.hear_hello(state))

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

    def _tell(self, to: MemberId, method: str, act: Any) -> None:
        callee = self.member.world.callee(self, to)
        message = Message(self.member.member_id, callee.member_id, method, REQUEST)
        self.member.world.network.send(message, None, callee.is_told, act, None)

    # -- application --------------------------------------------------------------------------------------------------

    def application_attaches(self, link: Link, request: exchange.Attach) -> None:
        """Whoever was attached is cut off."""
        before = self.link
        if before is not None and before is not link:
            before.close()
        answer = self.engine.attach(request)
        self.link = link if isinstance(answer, exchange.Attached) else None
        link.to_server(link.server.peer_attached, link, answer)
        if self._timers is not None:
            self._timers.tick_soon()

    def application_applied(self, link: Link, call_id: int, answer: exchange.ApplyAnswer) -> None:
        """An apply call was answered."""
        if call_id in link.applies:
            link.applies.discard(call_id)
            self.engine.applied(call_id, answer)

    def application_proposes(self, link: Link, number: int, data: bytes) -> None:
        """It wants one entry in the log."""
        self.propose(data, lambda answer: link.to_server(link.server.proposal_answered, link, number, answer))

    def propose(self, data: bytes, known: Callable[[exchange.ProposeAnswer], object]) -> None:
        """Somebody wants one entry in the log, and is told what came of it, in this call."""
        self._numbers = proposal_id = self._numbers + 1
        self.proposals[proposal_id] = known
        if len(data) > self.member.world.options.config.proposal_bytes_max:
            self.proposal_ended(proposal_id, exchange.Overloaded())
        else:
            self.engine.propose(proposal_id, data)

    def application_reads(self, link: Link, number: int) -> None:
        """It wants to know from which index on a state is new enough."""
        self._numbers += 1
        read_id = self._numbers
        self.reads[read_id] = (link, number)
        assert self._timers is not None, "a process that is being made is asked nothing"
        self.engine.read(read_id)
        if read_id in self.reads:
            clock = self.member.clock
            late_us = clock.until_us(clock.now_ms() + ASK_TIMEOUT_MS) + self._timers.interval_us()
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

    def cut_application(self) -> None:
        self.member.world.watch.count("application cut off behind a compaction")
        link, self.link = self.link, None
        if link is not None:
            link.close()

    def ask_application(self, asked: exchange.AskSlice) -> None:
        self.transfers.ask_application(asked)

    def ask_peer(self, to: MemberId, job: int, request: SliceRequest) -> None:
        self.transfers.ask_peer(to, job, request)

    def save_ended(self, number: int, answer: SaveAnswer) -> None:
        self.saves.remove(number)  # a second answer is a KeyError
        if isinstance(answer, Saved):
            self.has_saved = True
            self.member.world.watch.count("snapshot asked for by hand")

    def save_snapshot(self) -> None:
        """Somebody asks for a snapshot."""
        self._numbers += 1
        self.saves.add(self._numbers)
        self.engine.save_snapshot(self._numbers)

    def term_lost(self, news: exchange.TermLost) -> None:
        link = self.link
        if link is not None:
            link.to_server(link.server.peer_lost_term, news)

    def proposal_ended(self, proposal_id: int, answer: exchange.ProposeAnswer) -> None:
        self.proposals.pop(proposal_id)(answer)  # a second answer is a KeyError

    def read_ended(self, read_id: int, answer: exchange.ReadAnswer) -> None:
        self.member.world.watch.read_ended(answer)
        waiting = self.reads.pop(read_id, None)
        if waiting is not None:  # else given up
            link, number = waiting
            link.to_server(link.server.read_answered, link, number, answer)

    # -- the rest -----------------------------------------------------------------------------------------------------

    def invite(self, to: MemberId, directory_id: DirectoryId) -> None:
        self.invitations.invite(to, directory_id)

    def others_changed(self, others: tuple[MemberId, ...]) -> None: ...

    def note(self, kind: str, details: dict[str, object]) -> None:
        world = self.member.world
        if kind == "role":
            world.watch.role_changed(self.member, details)
            world.tell(self.name, f"{details['role']} term={details['term']} ({details['why']})")
            if details["role"] == "leader":
                world.nemesis.leader_elected()
        elif kind == "config":
            world.administrator.configured(self, details)
        elif kind in ("snapshot", "snapshot_failed", "state_replaced"):
            world.watch.snapshot(kind, details)
            world.tell(self.name, f"{kind} {details}")

    def failed(self, why: str) -> None:
        raise Violation("no member fails", f"member {self.name}: {why}")
