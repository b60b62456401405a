"""One peer without threads: every decision between the core and the world.

Here:   the core, its outbox, the call window, the election timer, the application feed and the chains, joined; what
        each effect becomes. Driven by one thread at a time (the owner), told the time by a `Clock`.
Never:  a thread, a file, Ray. `Ports` is the world; each of its methods only takes note and returns.

The simulator and the tests pump this class by hand; peer.py pumps it with daemons. They run the same code.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from typing import Protocol, assert_never

from raft_actors.application import exchange
from raft_actors.application.exchange import ApplyAnswer, Attach, Attached, ClusterId, Stopped, TermLost
from raft_actors.config import RaftConfig
from raft_actors.core import State, step
from raft_actors.core.effects import (
    CommitAdvanced,
    Compact,
    ConfigurationChanged,
    Count,
    Effect,
    FetchSnapshot,
    Persist,
    ProposalRefusal,
    ProposalRefused,
    ProposalStarted,
    ReadConfirmed,
    ReadRefused,
    Refuse,
    RestartElectionTimer,
    RoleChanged,
    SendReply,
    SendRequest,
    StateReplaced,
    StopElectionTimer,
)
from raft_actors.core.entries import Genesis
from raft_actors.core.events import (
    Durable,
    ElectionTimedOut,
    Event,
    HelloReceived,
    Proposed,
    ReadAbandoned,
    ReadRequested,
    ReplyReceived,
    RequestFailed,
    RequestReceived,
    StepDownRequested,
)
from raft_actors.core.invariants import check_state
from raft_actors.core.messages import Envelope
from raft_actors.core.outbox import Outbox, Outgoing
from raft_actors.core.types import DirectoryId, MemberId, RequestId, Role, RpcId, WriteSeq
from raft_actors.peer.chain_watch import ChainWatch
from raft_actors.peer.chains import ChainReport
from raft_actors.peer.clock import Clock
from raft_actors.peer.election_timer import ElectionTimer
from raft_actors.peer.feed import ApplicationFeed, ApplyCall
from raft_actors.peer.window import CallWindow, kind_of

PENDING_CALLS_MAX = 64
"""Calls that Ray may hold for one target, per kind (also `max_pending_calls` of the actor handles)."""
DIRECTORIES_REMEMBERED = 16
"""Of one place; a disk is replaced by hand, and the messages of one replaced long ago are gone too."""
STATE_CHECK_INTERVAL_MS = 1000
"""How often the whole state is checked, beside the constant-time check after every step."""
STATE_CHECK_ENTRIES = 1024
"""How much of the log that check looks at: a long log must not stall its owner."""
REPORT_INTERVAL_MS = 1000
"""How often chains that are not agreed yet are reported to the leader."""
HOLD_OFF_TIMEOUTS = 3
"""Longest election timeouts that a peer waits before campaigning after it stepped down for want of an application."""


class Ports(Protocol):
    """The world as one peer sees it. Nothing here blocks, raises or calls back into the engine."""

    def write(self, persist: Persist) -> None:
        """Bring it to the disk; later: `handle(Durable(seq))`."""

    def call(self, rpc_id: RpcId, envelope: Envelope) -> None:
        """Make the call; later, once: `call_ended(rpc_id, ...)`."""

    def answer(self, request_id: RequestId, envelope: Envelope | None) -> None:
        """Answer a received request; None: there will be no answer."""

    def apply(self, call: ApplyCall) -> None:
        """Call the application; later, once: `applied(call_id, ...)`."""

    def term_lost(self, news: TermLost) -> None:
        """Tell the application."""

    def report_chains(self, to: MemberId, report: ChainReport) -> None:
        """Call a peer; whether it arrives does not matter."""

    def proposal_ended(self, proposal_id: int, answer: exchange.ProposeAnswer) -> None:
        """Whoever proposed waits for this."""

    def read_ended(self, read_id: int, answer: exchange.ReadAnswer) -> None:
        """Whoever reads waits for this."""

    def timers_changed(self) -> None:
        """The election deadline came nearer, or the role is another one: the timer daemons look again."""

    def note(self, kind: str, details: dict[str, object]) -> None:
        """Something worth a line in the log and a row in the run's events."""

    def failed(self, why: str) -> None:
        """This member must stop."""


class Engine:
    """A running peer, pumped by its owner."""

    def __init__(
        self, *, state: State, genesis: Genesis, config: RaftConfig, clock: Clock, dice: random.Random, ports: Ports
    ) -> None:
        self.state = state
        self.genesis = genesis
        self.dropped: Counter[str] = Counter()
        """Messages from outside that were not obeyed, by reason."""
        self.log_bytes = 0
        """Size of the log files, as the disk said last."""
        self._config = config
        self._clock = clock
        self._ports = ports
        self._outbox = Outbox()
        self.window = CallWindow(
            open_max=config.calls_in_flight_max, pending_max=PENDING_CALLS_MAX, deadline_ms=config.rpc_deadline_ms
        )
        self.election_timer = ElectionTimer(
            dice, timeout_ms_min=config.election_timeout_ms_min, timeout_ms_max=config.election_timeout_ms_max
        )
        now_ms = clock.now_ms()
        self.feed = ApplicationFeed(now_ms=now_ms, bytes_max=config.apply_bytes_max)
        self.chains = ChainWatch(state, ports)
        self._starts: dict[MemberId, dict[DirectoryId, int]] = {}
        """Highest start counter met of each directory that ever spoke from a member's place."""
        self._led_term = 0
        self._internal: deque[Event] = deque()
        self._checked_ms = now_ms
        self._reported_ms = now_ms
        self.election_timer.restart(state.timer_generation, now_ms, soon=False)
        ports.timers_changed()

    # -- what happens -------------------------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """One event, and whatever follows from it inside this peer."""
        self._note_incarnation(event)
        self._internal.append(event)
        while self._internal:
            following = self._internal.popleft()
            for effect in step(self.state, following):
                self._perform(effect)
            if isinstance(following, Durable):
                self._leave(self._outbox.durable(following.seq))
        if self.state.role is Role.LEADER:  # clients wait for it; a follower's application is fed with the next tick
            self._pump_application()

    def propose(self, proposal_id: int, data: bytes) -> None:
        """Someone wants `data` in the log. Ends in `proposal_ended`, in this call."""
        if self.chains.in_doubt:
            self._ports.proposal_ended(proposal_id, exchange.Overloaded())
        elif self.state.role is Role.LEADER and self.log_bytes >= self._config.log_bytes_max:
            self._ports.proposal_ended(proposal_id, exchange.LogFull())
        else:
            self.handle(Proposed(now_ms=self._clock.now_ms(), proposal_id=proposal_id, data=data))

    def written(self, seq: WriteSeq, log_bytes: int) -> None:
        """The disk has finished everything up to write `seq`."""
        self.log_bytes = log_bytes
        self.handle(Durable(now_ms=self._clock.now_ms(), seq=seq))

    def abandon_read(self, read_id: int) -> None:
        """Whoever asked no longer waits."""
        self.handle(ReadAbandoned(now_ms=self._clock.now_ms(), read_id=read_id))

    def read(self, read_id: int) -> None:
        """Someone wants to read. Ends in `read_ended`, now or later."""
        if self.chains.in_doubt:
            self._ports.read_ended(read_id, exchange.Overloaded())
            return
        self.handle(ReadRequested(now_ms=self._clock.now_ms(), read_id=read_id))

    def election_due(self) -> None:
        """The election deadline seems to have passed; what was handled since may have moved it."""
        now_ms = self._clock.now_ms()
        generation = self.election_timer.fire(now_ms)
        if generation is not None:
            self.handle(ElectionTimedOut(now_ms=now_ms, generation=generation))

    def call_ended(self, rpc_id: RpcId, to: MemberId, envelope: Envelope | None) -> None:
        """A call brought this reply, or none. A reply later than its deadline is still taken."""
        self.window.ended(rpc_id)
        now_ms = self._clock.now_ms()
        if envelope is None:
            self.handle(RequestFailed(now_ms=now_ms, rpc_id=rpc_id, to=to))
        else:
            self.handle(ReplyReceived(now_ms=now_ms, rpc_id=rpc_id, envelope=envelope))

    def tick(self) -> None:
        """To be called every few tens of milliseconds: deadlines that nothing else would notice."""
        now_ms = self._clock.now_ms()
        for rpc_id, to in self.window.take_overdue(now_ms):
            self.handle(RequestFailed(now_ms=now_ms, rpc_id=rpc_id, to=to))
        if self.state.role is Role.LEADER and (probe := self.feed.probe(now_ms)) is not None:
            self._ports.apply(probe)
        if self.state.role is Role.LEADER and self.feed.absent_ms(now_ms) > self._config.application_absent_ms_max:
            self.handle(
                StepDownRequested(
                    now_ms=now_ms,
                    why="its application is away",
                    hold_off_ms=HOLD_OFF_TIMEOUTS * self._config.election_timeout_ms_max,
                )
            )
        if now_ms - self._checked_ms >= STATE_CHECK_INTERVAL_MS:
            self._checked_ms = now_ms
            check_state(self.state, entries_max=STATE_CHECK_ENTRIES)
        if now_ms - self._reported_ms >= REPORT_INTERVAL_MS:
            self._reported_ms = now_ms
            self.chains.report()
        self._pump_application()

    # -- the application ----------------------------------------------------------------------------------------------

    def attach(self, request: Attach) -> Attached:
        """The application is there, under a new epoch. It goes on where it is, unless its state is of another group.

        Its entries follow with the next tick, behind this answer.
        """
        known = request.cluster_id == self.genesis.cluster_id
        applied_index = request.applied_index if known else type(request.applied_index)(0)
        self.feed.attach(request.epoch, applied_index)
        if known:
            self.chains.computed(request.checkpoints)
        self._ports.note("application", {"attached_at": applied_index})
        return Attached(
            cluster_id=ClusterId(self.genesis.cluster_id),
            settings=self.genesis.settings,
            first_index=type(request.applied_index)(applied_index + 1),
            directory_id=self.state.directory_id,
            start_count=self.state.incarnation.start_count,
        )

    def application_gone(self) -> None:
        """Its link is gone; it will attach again under another epoch."""
        self.feed.detach(self._clock.now_ms())
        self._ports.note("application", {"attached_at": None})

    def chains_reported(self, report: ChainReport) -> None:
        """Another peer compares state chains."""
        if report.cluster_id == self.genesis.cluster_id:
            self.chains.reported(report)
        else:
            self.dropped["foreign_cluster"] += 1

    def applied(self, call_id: int, answer: ApplyAnswer | None) -> None:
        """The application answered an apply call; None: it did not."""
        now_ms = self._clock.now_ms()
        if answer is None:
            self.feed.lost(call_id, now_ms)
            return
        news = self.feed.answered(call_id, answer, now_ms)
        if isinstance(news, Stopped):
            self._ports.failed(f"the state machine stopped at index {news.index}: {news.why}")
        elif news is not None:
            self.chains.computed(news.checkpoints)
        self._pump_application()

    def _pump_application(self) -> None:
        while (call := self.feed.next_call(self.state.log, self.state.commit_index, self._clock.now_ms())) is not None:
            self._ports.apply(call)

    # -- effects ------------------------------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Persist():
                self._ports.write(effect)
            case SendRequest() | SendReply():
                self._leave(self._outbox.push(effect))
            case Refuse(request_id=request_id, reason=reason):
                self.dropped[reason.value] += 1
                self._ports.answer(request_id, None)
            case Count(reason=reason):
                self.dropped[reason.value] += 1
            case RestartElectionTimer(generation=generation, soon=soon):
                self._restart_election_timer(generation, soon=soon)
            case StopElectionTimer():
                self.election_timer.stop()
                self._ports.timers_changed()
            case RoleChanged():
                self._role_changed(effect)
            case FetchSnapshot(source=source, snapshot=snapshot):
                self._ports.note("snapshot_offered", {"source": source, "index": snapshot.last.index})
            case Compact() | StateReplaced():
                raise AssertionError(f"{effect}, and nobody stored a snapshot")
            case CommitAdvanced():
                pass  # handle() pumps the application after every event
            case ConfigurationChanged(index=index):
                self._ports.note("config", {"index": index})
            case ProposalStarted(proposal_id=proposal_id, index=index, term=term):
                self._ports.proposal_ended(proposal_id, exchange.Started(index=index, term=term))
            case ProposalRefused(proposal_id=proposal_id, reason=reason, leader=leader):
                self._ports.proposal_ended(proposal_id, _refusal(reason, leader))
            case ReadConfirmed(read_id=read_id, read_index=read_index):
                self._ports.read_ended(read_id, exchange.ReadAt(index=read_index))
            case ReadRefused(read_id=read_id, leader=leader):
                waits_at_us = leader == self.state.member_id
                self._ports.read_ended(
                    read_id, exchange.Overloaded() if waits_at_us else exchange.NotLeader(leader=leader)
                )
            case _:
                assert_never(effect)

    def _restart_election_timer(self, generation: int, *, soon: bool) -> None:
        """Every message of a leader moves the deadline away; the daemon that waits for it need not hear of that."""
        before = self.election_timer.deadline
        self.election_timer.restart(generation, self._clock.now_ms(), soon=soon)
        after = self.election_timer.deadline
        if before is None or after is None or after.at_ms < before.at_ms:
            self._ports.timers_changed()

    def _leave(self, messages: list[Outgoing]) -> None:
        """Messages whose write is durable go out; a request that finds no slot has failed already."""
        if not messages:
            return
        now_ms = self._clock.now_ms()
        for message in messages:
            if isinstance(message, SendReply):
                self._ports.answer(message.request_id, message.envelope)
            elif self.window.admit(message.rpc_id, message.envelope.to, kind_of(message.envelope.message), now_ms):
                self._ports.call(message.rpc_id, message.envelope)
            else:
                self._internal.append(RequestFailed(now_ms=now_ms, rpc_id=message.rpc_id, to=message.envelope.to))

    def _role_changed(self, effect: RoleChanged) -> None:
        self.chains.leader_changed(effect)
        if effect.role is Role.LEADER:
            self._led_term = effect.term
        elif self._led_term:
            if self.feed.epoch is not None:
                self._ports.term_lost(TermLost(epoch=self.feed.epoch, term=type(effect.term)(self._led_term)))
            self._led_term = 0
        self._ports.note(
            "role", {"role": effect.role.value, "term": effect.term, "leader": effect.leader, "why": effect.why}
        )
        self._ports.timers_changed()

    def _note_incarnation(self, event: Event) -> None:
        """A process that is new at its place, by its start counter or by a directory never met there, frees the slots
        of calls to the one before. A late message of an earlier one frees nothing, even of a directory that is gone.
        """
        match event:
            case RequestReceived(envelope=envelope) | ReplyReceived(envelope=envelope):
                sender, incarnation, cluster_id = envelope.sender, envelope.incarnation, envelope.cluster_id
            case HelloReceived(sender=sender, incarnation=incarnation, cluster_id=cluster_id):
                pass
            case _:
                return
        if cluster_id != self.genesis.cluster_id:
            return
        starts = self._starts.setdefault(sender, {})
        if starts.get(incarnation.directory_id, 0) < incarnation.start_count:
            is_first = not starts
            starts[incarnation.directory_id] = incarnation.start_count
            if len(starts) > DIRECTORIES_REMEMBERED:
                del starts[next(iter(starts))]
            if not is_first:
                for rpc_id in self.window.target_restarted(sender):
                    self._internal.append(RequestFailed(now_ms=event.now_ms, rpc_id=rpc_id, to=sender))


def _refusal(reason: ProposalRefusal, leader: MemberId | None) -> exchange.ProposeAnswer:
    match reason:
        case ProposalRefusal.NOT_LEADER:
            return exchange.NotLeader(leader=leader)
        case ProposalRefusal.OVERLOADED:
            return exchange.Overloaded()
