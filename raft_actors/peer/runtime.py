"""The daemons of a running peer, by name, around its engine.

Here:   threads: the owner, the disk, snapshot, the election timer, heartbeats, sync log entries, apply command, verify
        authority; what each waits for; how they end.
Never:  decisions (engine.py and core), bring-up and states (peer.py), Ray (transport.py, actor.py).

Data flows one way: handler threads, timers, the disk and ended calls put jobs into the inbox; whoever has the turn
there is the owner and steps the engine (inbox.py); the engine's ports fill the queues of the disk, of snapshot, of sync
log entries and of apply command, whose daemons do what takes time: encode, write, call. Nothing waits for ever.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from raft_actors.application import exchange
from raft_actors.application.packing import Malformed
from raft_actors.application.slices import INLINE_BYTES_MAX, SLICE_REQUEST, Slice
from raft_actors.codec import CodecError
from raft_actors.config import RaftConfig
from raft_actors.core import State
from raft_actors.core.effects import ChangeRefused, ChangeStarted, TransferEnded
from raft_actors.core.entries import Genesis
from raft_actors.core.events import Change, Event, HeartbeatDue, HelloReceived, RequestReceived
from raft_actors.core.messages import Envelope
from raft_actors.core.types import DirectoryId, LogIndex, RequestId, Role
from raft_actors.envelopes import decode_envelope, decode_hello, encode_envelope
from raft_actors.errors import DaemonFailed, SnapshotDamaged, StorageFailed
from raft_actors.gauges import StallGauge
from raft_actors.peer.chains import CHAIN_REPORT
from raft_actors.peer.clock import Clock
from raft_actors.peer.daemon import Daemon
from raft_actors.peer.disk import Disk
from raft_actors.peer.engine import Engine
from raft_actors.peer.links import ApplicationLink, Transport
from raft_actors.peer.membership import Membership, membership_of
from raft_actors.peer.perform import OWNER, Note, Perform, Queues
from raft_actors.peer.shelf import SnapshotShelf
from raft_actors.peer.snapshots import SaveAnswer
from raft_actors.peer.waiting import resolve, result
from raft_actors.process import freeze_what_lasts
from raft_actors.storage.interface import Storage

TICK_S = 0.02
"""Longest sleep of the owner: how late an overdue call may be noticed."""
IDLE_WAIT_MS = 1000
"""Longest sleep of a timer daemon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """What `status` says about the threads."""

    stall_ms_max: float
    """Longest time between two looks of the owner at its inbox, lately: tells a starved machine from a fault."""
    inbox_length: int
    calls_open: int
    dropped: dict[str, int]


class Runtime:
    """A running peer with its threads. `failed(why, failure)` is called at most a few times, from any thread."""

    def __init__(
        self,
        *,
        state: State,
        genesis: Genesis,
        config: RaftConfig,
        clock: Clock,
        dice: random.Random,
        storage: Storage,
        transport: Transport,
        note: Note,
        failed: Callable[[str, BaseException | None], None],
        story: Callable[[str], None] | None = None,
        wary: bool = False,
    ) -> None:
        self._config = config
        self._clock = clock
        self._transport = transport
        self._failed = failed
        self._queues = Queues(self._daemon_died)
        self._stalls = StallGauge()
        self._ticked_s = time.monotonic()
        ports = Perform(self._queues, transport, genesis, note, lambda why: failed(why, None), story)
        self.engine = Engine(
            state=state,
            genesis=genesis,
            config=config,
            clock=clock,
            dice=dice,
            ports=ports,
            log_bytes=storage.log_bytes,
            wary=wary,
        )
        self._cluster_id = genesis.cluster_id
        self._shelf = SnapshotShelf(storage.open_snapshot, clock)
        self._queues.inbox.begin(self.engine)
        disk = Disk(storage, self._queues, self._shelf, idle_mark_ms=config.idle_mark_ms)
        self._daemons = [
            Daemon(OWNER, self._own, self._daemon_died),
            Daemon("disk", disk.write, self._daemon_died),
            Daemon("snapshot", disk.file, self._daemon_died),
            Daemon("election timer", self._watch_election_timer, self._daemon_died),
            Daemon("heartbeats", self._beat, self._daemon_died),
            Daemon(self._queues.calls.name, self._queues.calls.run, self._daemon_died),
            Daemon(self._queues.applies.name, self._queues.applies.run, self._daemon_died),
            Daemon("verify authority", self._watch_reads, self._daemon_died),
        ]

    def start(self) -> None:
        """Start the daemons."""
        for daemon in self._daemons:
            daemon.start()

    def stop(self, timeout_s: float) -> list[DaemonFailed]:
        """End all daemons within `timeout_s` in all; what they died of or how they hang, in order.

        The disk goes last but one, so that what was issued is written; those who wait are told that nobody knows.
        """
        deadline_s = time.monotonic() + timeout_s
        failures = []
        if self._queues.application is not None:
            self._queues.application.close()  # first: a write to a stopped application would hold up its daemon
        for daemon in self._daemons:
            if daemon.name != "disk":
                daemon.ask_to_stop()
        with self._queues.timers:
            self._queues.timers.notify_all()
        self._queues.inbox.close(0.0)  # as the owner does, unless it hangs
        disk_last = sorted(self._daemons, key=lambda daemon: daemon.name == "disk")
        for daemon in disk_last:
            try:
                daemon.stop(max(0.05, deadline_s - time.monotonic()))
            except DaemonFailed as failure:
                failures.append(failure)
        self._shelf.close(deadline_s - time.monotonic())
        self._queues.waiting.end_all()
        self._transport.close()
        return failures

    # -- called by handler threads ------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> bytes | None:
        """One request of another peer; its reply's bytes, or None when there is none in time. Blocks the caller."""
        try:
            envelope = decode_envelope(data)
        except CodecError:
            self._drop_malformed()
            return None
        number, future = self._queues.waiting.begin()
        request_id = RequestId(number)
        event = RequestReceived(now_ms=self._clock.now_ms(), request_id=request_id, envelope=envelope)
        self._queues.inbox.put_and_work(lambda engine: engine.handle(event))
        reply: Envelope | None = self._queues.waiting.wait(number, future, self._config.rpc_deadline_ms)
        return None if reply is None else encode_envelope(reply)

    def hello(self, data: bytes) -> None:
        """Another peer says that it (re)started."""
        try:
            hello = decode_hello(data)
        except CodecError:
            self._drop_malformed()
            return
        event = HelloReceived(
            now_ms=self._clock.now_ms(),
            cluster_id=hello.cluster_id,
            sender=hello.sender,
            incarnation=hello.incarnation,
        )
        self._queues.inbox.put(lambda engine: engine.handle(event))

    def chains_reported(self, data: bytes) -> None:
        """Another peer reports its chains, or what is agreed."""
        try:
            report = CHAIN_REPORT.decode(data)
        except Malformed:
            self._drop_malformed()
            return
        self._queues.inbox.put(lambda engine: engine.chains_reported(report))

    def _drop_malformed(self) -> None:
        self._queues.inbox.put(lambda engine: engine.dropped.update(["malformed"]))

    def propose(self, data: bytes, timeout_ms: int) -> exchange.ProposeAnswer | None:
        """Start one entry (Ruaft's `start`). None: nobody knows, the owner did not answer in time."""
        proposal_id, future = self._queues.waiting.begin()
        self._queues.inbox.put_and_work(lambda engine: engine.propose(proposal_id, data))
        answer: exchange.ProposeAnswer | None = self._queues.waiting.wait(proposal_id, future, timeout_ms)
        return answer

    def read(self, timeout_ms: int) -> exchange.ReadAnswer | None:
        """Verify authority: from which index on a state is new enough. None: not confirmed in time."""
        read_id, future = self._queues.waiting.begin(deadline_ms=self._clock.now_ms() + timeout_ms)
        self._queues.inbox.put_and_work(lambda engine: engine.read(read_id))
        answer: exchange.ReadAnswer | None = self._queues.waiting.wait(read_id, future, timeout_ms)
        return answer

    def attach(self, request: exchange.Attach, link: ApplicationLink) -> None:
        """The application attaches: `link.attached` follows, then its entries. Whoever was attached is cut off."""

        def job(engine: Engine) -> None:
            before = self._queues.application
            if before is not None and before is not link:
                before.close()
            answer = engine.attach(request)
            self._queues.application = link if isinstance(answer, exchange.Attached) else None
            self._queues.applies.put(lambda: link.attached(answer))

        self._queues.inbox.put(job)

    def application_gone(self, link: ApplicationLink) -> None:
        """This attachment is over, unless another one took its place."""

        def job(engine: Engine) -> None:
            if self._queues.application is link:
                self._queues.application = None
                engine.application_gone()

        self._queues.inbox.put(job)

    def begin_propose(self, data: bytes, link: ApplicationLink, number: int) -> None:
        """The application proposes; `link.proposal_answered(number, ...)` follows."""
        proposal_id, future = self._queues.waiting.begin()
        future.add_done_callback(
            lambda ended: self._queues.applies.put(lambda: link.proposal_answered(number, ended.result()), direct=True)
        )
        self._queues.inbox.put_and_work(
            partial(_propose, self._config.proposal_bytes_max, self._queues, proposal_id, data)
        )

    def begin_read(self, link: ApplicationLink, number: int, timeout_ms: int) -> None:
        """The application reads; `link.read_answered(number, ...)` follows, within `timeout_ms` or so."""
        read_id, future = self._queues.waiting.begin(deadline_ms=self._clock.now_ms() + timeout_ms)
        future.add_done_callback(
            lambda ended: self._queues.applies.put(lambda: link.read_answered(number, ended.result()), direct=True)
        )
        self._queues.inbox.put_and_work(lambda engine: engine.read(read_id))

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def slice_arrived(self, job: int, slice_: Slice, data: memoryview) -> None:
        """The next bytes of the application's state."""
        self._queues.inbox.put(lambda engine: engine.snapshots.slice_arrived(job, slice_, data, engine.now_ms()))

    def slice_lost(self, job: int) -> None:
        """They were in the object store, and are not any more."""
        self._queues.inbox.put(lambda engine: engine.snapshots.slice_lost(job, engine.now_ms()))

    def slice_refused(self, refused: exchange.SliceRefused) -> None:
        """The application cannot give them."""
        self._queues.inbox.put(lambda engine: engine.snapshots.slice_refused(refused.job, refused.why, engine.now_ms()))

    def save_snapshot(self, timeout_ms: int) -> SaveAnswer | None:
        """Have a snapshot of what is applied now. None: it goes on, and was not there in time."""
        number, future = self._queues.waiting.begin()
        self._queues.inbox.put(lambda engine: engine.save_snapshot(number))
        answer: SaveAnswer | None = self._queues.waiting.wait(number, future, timeout_ms)
        return answer

    def read_snapshot(self, data: bytes) -> tuple[Slice, bytes] | None:
        """A slice of a snapshot of ours, for another peer or our application. None: there is no such snapshot.

        A file that cannot be read any more ends the process: the start after it goes by the snapshot before (ADR 10).
        """
        try:
            request = SLICE_REQUEST.decode(data)
        except Malformed:
            self._drop_malformed()
            return None
        if request.cluster_id != self._cluster_id:
            self._queues.inbox.put(lambda engine: engine.dropped.update(["foreign_cluster"]))
            return None
        most = self._config.snapshot_slice_bytes_max if request.by_reference else INLINE_BYTES_MAX
        try:
            return self._shelf.read(request, max(1, min(request.bytes_max, most)))
        except (SnapshotDamaged, OSError) as damage:
            self._failed(str(damage), StorageFailed(str(damage)))
            return None

    # -- membership -------------------------------------------------------------------------------------------------

    def membership(self, timeout_ms: int) -> Membership | exchange.NotLeader | None:
        """Who belongs to the group, if this peer leads and a majority confirms that. None: not confirmed in time."""
        deadline_ms = self._clock.now_ms() + timeout_ms
        answer = self.read(timeout_ms)
        if not isinstance(answer, exchange.ReadAt):
            return answer if isinstance(answer, exchange.NotLeader) else None
        found = self.ask(
            lambda engine: membership_of(engine.state, engine.now_ms()) or exchange.NotLeader(leader=None),
            deadline_ms - self._clock.now_ms(),
        )
        return found if isinstance(found, Membership | exchange.NotLeader) else None

    def change(self, made_for: LogIndex, change: Change, timeout_ms: int) -> ChangeStarted | ChangeRefused | None:
        """Append another configuration. None: nobody knows, the owner did not answer in time."""
        number, future = self._queues.waiting.begin()
        self._queues.inbox.put_and_work(lambda engine: engine.change(number, made_for, change))
        answer: ChangeStarted | ChangeRefused | None = self._queues.waiting.wait(number, future, timeout_ms)
        return answer

    def transfer(self, to: DirectoryId | None, timeout_ms: int) -> TransferEnded | None:
        """Hand leadership over. None: it goes on, and was not over in time."""
        number, future = self._queues.waiting.begin()
        self._queues.inbox.put_and_work(lambda engine: engine.transfer(number, to))
        answer: TransferEnded | None = self._queues.waiting.wait(number, future, timeout_ms)
        return answer

    def ask(self, question: Callable[[Engine], object], timeout_ms: int) -> object | None:
        """The answer of the owner to a question about its engine; None: not in time."""
        future: Future[object] = Future()
        self._queues.inbox.put(lambda engine: resolve(future, question(engine)))
        return result(future, timeout_ms)

    def gauges(self) -> Gauges:
        """Read without the owner: still there when it hangs."""
        return Gauges(
            stall_ms_max=self._stalls.ms_max,
            inbox_length=len(self._queues.inbox),
            calls_open=len(self.engine.window),
            dropped=dict(self.engine.dropped),
        )

    # -- daemons ------------------------------------------------------------------------------------------------------

    def _own(self, stop: threading.Event) -> None:
        """The owner's own thread: what others only leave in the inbox, and the passing of time."""
        inbox = self._queues.inbox
        while not stop.is_set():
            inbox.wait(TICK_S)
            inbox.work(TICK_S, self._look)
        inbox.close(TICK_S)

    def _look(self, engine: Engine) -> None:
        self._stalls.look(TICK_S)
        now_s = time.monotonic()
        if now_s - self._ticked_s >= TICK_S:
            self._ticked_s = now_s
            freeze_what_lasts()
            engine.tick()

    def _watch_election_timer(self, stop: threading.Event) -> None:
        """Wake the owner at the deadline. The owner looks again: what stood in the inbox before may have moved it."""
        told = None
        with self._queues.timers:  # so that nothing changes between the look and the wait
            while not stop.is_set():
                deadline = self.engine.election_timer.deadline
                wait_ms = IDLE_WAIT_MS if deadline is None else deadline.at_ms - self._clock.now_ms()
                if deadline is not None and wait_ms <= 0:
                    if deadline is not told:
                        self._queues.inbox.put(Engine.election_due)
                    told, wait_ms = deadline, int(TICK_S * 1000)
                self._queues.timers.wait(min(max(wait_ms, 1), IDLE_WAIT_MS) / 1000)

    def _beat(self, stop: threading.Event) -> None:
        interval_s = self._config.heartbeat_interval_ms / 1000
        while not stop.wait(interval_s):
            if self.engine.state.role is Role.LEADER:
                event = HeartbeatDue(now_ms=self._clock.now_ms())
                self._queues.inbox.put(partial(_handle, event))

    def _watch_reads(self, stop: threading.Event) -> None:
        """Reads that no majority confirmed in time are taken back."""
        while not stop.wait(self._config.heartbeat_interval_ms / 1000):
            for read_id in self._queues.waiting.take_overdue(self._clock.now_ms()):
                self._queues.inbox.put(partial(_abandon, self._queues, read_id))

    def _daemon_died(self, name: str, failure: BaseException) -> None:
        self._failed(f"{name}: {type(failure).__name__}: {failure}", failure)


def _handle(event: Event, engine: Engine) -> None:
    engine.handle(event)


def _abandon(queues: Queues, read_id: int, engine: Engine) -> None:
    engine.abandon_read(read_id)
    queues.waiting.resolve(read_id, None)


def _propose(bytes_max: int, queues: Queues, proposal_id: int, data: bytes, engine: Engine) -> None:
    if len(data) > bytes_max:
        queues.waiting.resolve(proposal_id, exchange.Overloaded())
    else:
        engine.propose(proposal_id, data)
