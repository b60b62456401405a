"""One peer without threads: every decision between the core and the world.

Here:   the core, its outbox, the call window, the election timer, the application feed and the chains, joined; what
        each effect becomes. Driven by one thread at a time (the owner), told the time by a `Clock`.
Never:  a thread, a file, Ray. `Ports` is the world (ports.py).

The simulator and the tests pump this class by hand; peer.py pumps it with daemons. They run the same code.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from typing import assert_never

from raft_actors.application import exchange
from raft_actors.application.exchange import ApplyAnswer, Attach, Attached, ClusterId, Restore, Stopped, TermLost
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
    Change,
    ChangeRequested,
    Durable,
    ElectionTimedOut,
    Event,
    Proposed,
    ReadAbandoned,
    ReadRequested,
    ReplyReceived,
    RequestFailed,
    SnapshotStored,
    StepDownRequested,
    TransferRequested,
)
from raft_actors.core.invariants import check_state
from raft_actors.core.messages import Envelope
from raft_actors.core.outbox import Outbox, Outgoing
from raft_actors.core.types import DirectoryId, LogIndex, MemberId, Role, RpcId, WriteSeq
from raft_actors.peer.chain_watch import ChainWatch
from raft_actors.peer.chains import ChainReport
from raft_actors.peer.clock import Clock
from raft_actors.peer.election_timer import ElectionTimer
from raft_actors.peer.endings import Ending, tell_end
from raft_actors.peer.feed import ApplicationFeed
from raft_actors.peer.filing import Filed
from raft_actors.peer.incarnations import Incarnations
from raft_actors.peer.invitations import Invitations
from raft_actors.peer.membership import standing_in
from raft_actors.peer.ports import Ports
from raft_actors.peer.snapshots import NotSaved, SnapshotDesk
from raft_actors.peer.window import CallWindow, kind_of

PENDING_CALLS_MAX = 64
"""Calls that Ray may hold for one target, per kind (also `max_pending_calls` of the actor handles)."""
STATE_CHECK_INTERVAL_MS = 1000
"""How often the whole state is checked, beside the constant-time check after every step."""
STATE_CHECK_ENTRIES = 1024
"""How much of the log that check looks at: a long log must not stall its owner."""
REPORT_INTERVAL_MS = 1000
"""How often chains that are not agreed yet are reported to the leader."""
LOG_FULL_TIMES = 2
"""A leader takes no more at `log_bytes_max`; a follower whose log is so many times as long, by itself, fails."""
FORGOTTEN_AT_ONCE = 2_000
"""Entries that one tick frees: a millisecond or two."""
HOLD_OFF_TIMEOUTS = 3
"""Longest election timeouts that a peer waits before campaigning after it stepped down for want of an application."""


class Engine:
    """A running peer, pumped by its owner."""

    def __init__(
        self,
        *,
        state: State,
        genesis: Genesis,
        config: RaftConfig,
        clock: Clock,
        dice: random.Random,
        ports: Ports,
        log_bytes: int = 0,
        wary: bool = False,
    ) -> None:
        """`wary`: look at the whole state after every event."""
        self.state = state
        self.genesis = genesis
        self.dropped: Counter[str] = Counter()
        """Messages from outside that were not obeyed, by reason."""
        self.log_bytes = log_bytes
        """Size of the log files, as the disk said last."""
        self._config = config
        self._clock = clock
        self._ports = ports
        self._wary = wary
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
        self.snapshots = SnapshotDesk(state, config, ports, provenance=self.chains.provenance, log_bytes=log_bytes)
        self.invitations = Invitations(state, ports)
        self._incarnations = Incarnations(genesis.cluster_id)
        self._led_term = 0
        self._internal: deque[Event] = deque()
        self._checked_ms = now_ms
        self._reported_ms = now_ms
        self.election_timer.restart(state.timer_generation, now_ms, soon=False)
        ports.timers_changed()

    def now_ms(self) -> int:
        """By the clock that it was given."""
        return self._clock.now_ms()

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
                self.snapshots.durable()
        if self._wary:
            check_state(self.state, entries_max=STATE_CHECK_ENTRIES)
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

    def compacted(self, log_bytes: int) -> None:
        """The disk has forgotten what a snapshot covers."""
        self.snapshots.compacted(self.log_bytes - log_bytes)
        self.log_bytes = log_bytes

    def filed(self, filed: Filed) -> None:
        """The snapshot daemon has done what it was ordered to."""
        now_ms = self._clock.now_ms()
        stored = self.snapshots.filed(filed, self.log_bytes, now_ms)
        if stored is not None:
            self.handle(SnapshotStored(now_ms=now_ms, snapshot=stored))

    def save_snapshot(self, number: int) -> None:
        """Someone wants a snapshot of what is applied now. Ends in `save_ended`, now or later."""
        if self.feed.epoch is None:
            self._ports.save_ended(number, NotSaved(why="this member's application is away; ask again"))
        else:
            self.snapshots.want(number, self.feed.applied_index)

    def change(self, change_id: int, made_for: LogIndex, change: Change) -> None:
        """Someone wants another configuration. Ends in `change_ended`, in this call."""
        now_ms = self._clock.now_ms()
        self.handle(ChangeRequested(now_ms=now_ms, change_id=change_id, made_for=made_for, change=change))

    def transfer(self, transfer_id: int, to: DirectoryId | None) -> None:
        """Someone wants another leader. Ends in `transfer_ended`, now or later."""
        self.handle(TransferRequested(now_ms=self._clock.now_ms(), transfer_id=transfer_id, to=to))

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
            hold_off_ms = HOLD_OFF_TIMEOUTS * self._config.election_timeout_ms_max
            self.handle(StepDownRequested(now_ms=now_ms, why="its application is away", hold_off_ms=hold_off_ms))
        if now_ms - self._checked_ms >= STATE_CHECK_INTERVAL_MS:
            self._checked_ms = now_ms
            check_state(self.state, entries_max=STATE_CHECK_ENTRIES)
        if now_ms - self._reported_ms >= REPORT_INTERVAL_MS:
            self._reported_ms = now_ms
            self.chains.report()
        self.invitations.look(now_ms)
        self._pump_application()
        self.state.log.let_go(FORGOTTEN_AT_ONCE)
        if self.log_bytes > LOG_FULL_TIMES * self._config.log_bytes_max:
            why = self.snapshots.error or "its application is away"
            self._ports.failed(f"its log has {self.log_bytes} bytes, and no snapshot could be taken: {why}; mend that")
        may_take = self.feed.epoch is not None and not self.chains.in_doubt
        self.snapshots.look(
            now_ms, applied_index=self.feed.applied_index if may_take else None, log_bytes=self.log_bytes
        )

    # -- the application ----------------------------------------------------------------------------------------------

    def attach(self, request: Attach) -> Attached | Restore:
        """The application is there, under a new epoch.

        It goes on where it is, and its entries follow with the next tick, behind this answer. Where the log does not
        reach back to its state, or it has none and there is a snapshot, it has to go on from that, and attach again.
        """
        self.application_gone()
        known = request.cluster_id == self.genesis.cluster_id
        applied_index = request.applied_index if known else LogIndex(0)
        snapshot, cluster_id = self.state.snapshot, ClusterId(self.genesis.cluster_id)
        if snapshot is not None and (applied_index == 0 or applied_index < self.state.log.base.index):
            return Restore(
                cluster_id=cluster_id,
                settings=self.genesis.settings,
                term=snapshot.last.term,
                index=snapshot.last.index,
            )
        self.feed.attach(request.epoch, applied_index)
        if known:
            self.chains.attached(request.provenance)
            self.chains.computed(request.checkpoints)
        self._ports.note("application", {"attached_at": applied_index})
        return Attached(
            cluster_id=cluster_id,
            settings=self.genesis.settings,
            first_index=LogIndex(applied_index + 1),
            directory_id=self.state.directory_id,
            start_count=self.state.incarnation.start_count,
        )

    def application_gone(self) -> None:
        """Its link is gone; it will attach again under another epoch."""
        now_ms = self._clock.now_ms()
        self.snapshots.application_changed(now_ms)
        if self.feed.epoch is not None:
            self.feed.detach(now_ms)
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
        if self.feed.epoch is not None and self.feed.next_index <= self.state.log.base.index:
            self.application_gone()  # the log does not reach back to it any more (contracts 10 b)
            self._ports.cut_application()
        while (call := self.feed.next_call(self.state.log, self.state.commit_index, self._clock.now_ms())) is not None:
            self._ports.apply(call)

    # -- effects ------------------------------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Ending):
            tell_end(self._ports, effect, self.state.member_id)
            return
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
            case FetchSnapshot():
                now_ms = self._clock.now_ms()
                if (stored := self.snapshots.offered(effect, now_ms)) is not None:
                    self._internal.append(SnapshotStored(now_ms=now_ms, snapshot=stored))
            case Compact(to=to):
                self._ports.compact(to)
            case StateReplaced(snapshot=snapshot):
                self._ports.note("state_replaced", {"index": snapshot.last.index})
            case CommitAdvanced():
                pass  # handle() pumps the application after every event
            case ConfigurationChanged(index=index):
                self._configuration_changed(index)
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

    def _configuration_changed(self, index: LogIndex) -> None:
        configurations = self.state.configurations
        mine = standing_in(configurations.in_force, self.state.directory_id)
        self._ports.note("config", {"index": index, "this_member": mine})
        self._ports.others_changed(tuple(each.member_id for each in configurations.others(self.state.member_id)))

    def _note_incarnation(self, event: Event) -> None:
        """Calls to a process that has a successor are gone."""
        restarted = self._incarnations.met(event)
        if restarted is not None:
            for rpc_id in self.window.target_restarted(restarted):
                self._internal.append(RequestFailed(now_ms=self._clock.now_ms(), rpc_id=rpc_id, to=restarted))
