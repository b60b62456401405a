"""The daemons of three running peers in one process: real threads and real time, no Ray."""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from raft_actors.application import exchange
from raft_actors.application.exchange import Attach, ClusterId, Epoch, ReadAt, Started
from raft_actors.application.frames import RawFrame, encode_batch
from raft_actors.application.host import ApplicationHost
from raft_actors.application.settings import SessionLimits
from raft_actors.application.slices import SLICE, SLICE_REQUEST, Slice, SliceRequest, StateSlicer, checked
from raft_actors.codec import cluster_id_of
from raft_actors.config import RaftConfig
from raft_actors.core.entries import Configuration, Genesis, Member
from raft_actors.core.state import State
from raft_actors.core.types import MemberId, Role
from raft_actors.peer.clock import MonotonicClock
from raft_actors.peer.links import Done, Fetched, Lost, Transport
from raft_actors.peer.runtime import Runtime
from raft_actors.peer.snapshots import Saved
from raft_actors.storage.memory import MemoryDisk, MemoryStorage
from tests.application.builders import Journal
from tests.rig.disks import GROUP, directory_id

DAEMONS = {
    "owner",
    "disk",
    "snapshot",
    "election timer",
    "heartbeats",
    "sync log entries",
    "apply command",
    "verify authority",
}
QUICK = RaftConfig(
    heartbeat_interval_ms=20,
    election_timeout_ms_min=80,
    election_timeout_ms_max=240,
    check_quorum_ms=240,
    snapshot_slice_bytes_max=100,
)
LONG_S = 20.0


class InProcess:
    """Calls between the peers of one process, each in a thread of a pool."""

    def __init__(self, peers: dict[MemberId, Peer], workers: ThreadPoolExecutor) -> None:
        self._peers = peers
        self._workers = workers
        self.cut_off = False
        """Whoever calls from here, or calls who is cut off, gets no answer."""
        self.missed: set[str] = set()
        """What was called here meanwhile."""

    def call(self, to: MemberId, method: str, data: bytes, done: Done) -> None:
        self._workers.submit(self._call, to, method, data, done)

    def know(self, others: tuple[MemberId, ...]) -> None: ...

    def fetch(self, to: MemberId, request: bytes, done: Callable[[Fetched], None]) -> None:
        self._workers.submit(self._fetch, to, request, done)

    def _fetch(self, to: MemberId, request: bytes, done: Callable[[Fetched], None]) -> None:
        found = self._peers[to].runtime.read_snapshot(request)
        done(Lost.GONE if found is None else (SLICE.encode(found[0]), memoryview(found[1])))

    def _call(self, to: MemberId, method: str, data: bytes, done: Done) -> None:
        runtime = self._peers[to].runtime
        if self.cut_off or self._peers[to].transport.cut_off:
            self._peers[to].transport.missed.add(method)
            done(None)
        elif method == "report_chains":
            runtime.chains_reported(data)
            done(None)
        else:
            done(runtime.receive(data))

    def close(self) -> None:
        """The pool belongs to the test."""


class Application:
    """A journal behind the product's host, called in the daemon's own thread."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.host = ApplicationHost(self.journal, SessionLimits())
        self.ready = threading.Event()
        self.answers: dict[int, object] = {}
        self.restores: queue.SimpleQueue[exchange.Restore] = queue.SimpleQueue()
        self.gives: Callable[[int, Slice, memoryview], None] | None = None
        """Takes slices of its state."""
        self.closed = False
        self._slicer: StateSlicer | None = None

    def attached(self, answer: exchange.Attached | exchange.Restore) -> None:
        if isinstance(answer, exchange.Restore):
            self.restores.put(answer)
        else:
            self.ready.set()

    def apply(self, request: exchange.Apply, done: Done) -> None:
        done(exchange.APPLY_ANSWER.encode(self.host.apply(request)))

    def term_lost(self, news: exchange.TermLost) -> None:
        self.host.term_lost(news)

    def ask_slice(self, asked: exchange.AskSlice) -> None:
        if asked.offset == 0:
            self._slicer = StateSlicer(self.host.applied, self.host.snapshot(asked.provenance))
        if self.gives is not None and self._slicer is not None:
            slice_, data = self._slicer.again(asked.offset, asked.bytes_max) or self._slicer.read(asked.bytes_max)
            self.gives(asked.job, slice_, memoryview(data))

    def proposal_answered(self, number: int, answer: exchange.ProposeAnswer | None) -> None:
        self.answers[number] = answer

    def read_answered(self, number: int, answer: exchange.ReadAnswer | None) -> None:
        self.answers[number] = answer

    def close(self) -> None:
        self.closed = True


class Peer:
    """One runtime and what it needs."""

    def __init__(self, number: int, genesis: Genesis, transport: InProcess, config: RaftConfig) -> None:
        self.disk = MemoryDisk(directory_id=directory_id(number))
        self.cluster_id = ClusterId(genesis.cluster_id)
        self.transport = transport
        self.runtime, self.failures = runtime_of(number, genesis, self.disk, transport, config, self._failed)
        self.failed = threading.Event()
        self.application = Application()

    def _failed(self) -> None:
        self.failed.set()

    def attach(self, application: Application | None = None, *, cluster_id: ClusterId | None = None) -> None:
        """The application asks to be attached, without a state or with the one that it has."""
        self.application = application or self.application
        self.application.gives = self.runtime.slice_arrived
        host, epoch = self.application.host, Epoch(os.urandom(16))
        host.attach(epoch)
        request = Attach(
            epoch=epoch,
            cluster_id=cluster_id,
            applied_index=host.applied_index,
            checkpoints=host.checkpoints(),
            provenance=host.provenance,
        )
        self.runtime.attach(request, self.application)

    @property
    def leads(self) -> bool:
        return self.runtime.engine.state.role is Role.LEADER


def runtime_of(
    number: int,
    genesis: Genesis,
    disk: MemoryDisk,
    transport: Transport,
    config: RaftConfig,
    failed: Callable[[], None] = lambda: None,
) -> tuple[Runtime, list[str]]:
    """A member's runtime on its disk, not started; and why it failed."""
    failures: list[str] = []
    storage = MemoryStorage.open(disk, group=GROUP, member_id=MemberId(number))
    storage.write_genesis(genesis)
    found = storage.recovered
    state = State.restore(
        settings=config.core(),
        member_id=MemberId(number),
        incarnation=found.incarnation,
        genesis=genesis,
        hard_state=found.hard_state,
        entries=found.entries,
    )

    def fail(why: str, failure: BaseException | None) -> None:
        failures.append(why)
        failed()

    runtime = Runtime(
        state=state,
        genesis=genesis,
        config=config,
        clock=MonotonicClock(),
        dice=random.Random(number),
        storage=storage,
        transport=transport,
        note=lambda kind, details: None,
        failed=fail,
    )
    return runtime, failures


@pytest.fixture
def peers() -> Iterator[dict[MemberId, Peer]]:
    members = tuple(
        Member(member_id=MemberId(number), directory_id=directory_id(number), voter=True) for number in (1, 2, 3)
    )
    genesis = Genesis(
        cluster_id=cluster_id_of(GROUP, members, b""),
        group=GROUP,
        configuration=Configuration(members=members),
        settings=b"",
    )
    group: dict[MemberId, Peer] = {}
    with ThreadPoolExecutor(max_workers=16, thread_name_prefix="call") as workers:
        for number in (1, 2, 3):
            group[MemberId(number)] = Peer(number, genesis, InProcess(group, workers), QUICK)
        for peer in group.values():
            peer.runtime.start()
        for peer in group.values():
            peer.attach()
            assert peer.application.ready.wait(LONG_S), "never attached"
        yield group
        for peer in group.values():
            peer.runtime.stop(LONG_S)


def wait_for(reached: Callable[[], bool]) -> None:
    """Look again and again; a starved machine gets all the time it needs."""
    deadline_s = time.monotonic() + LONG_S
    pause = threading.Event()
    while not reached():
        assert time.monotonic() < deadline_s, "not reached"
        pause.wait(0.002)


def leader_of(peers: dict[MemberId, Peer]) -> Peer:
    wait_for(lambda: any(peer.leads for peer in peers.values()))
    return next(peer for peer in peers.values() if peer.leads)


@pytest.mark.slow
def test_three_elect_commit_apply_and_read_timing_sensitive(peers: dict[MemberId, Peer]) -> None:
    answer = None
    while not isinstance(answer, Started):  # whoever led may have lost it again on a starved machine
        leader = leader_of(peers)
        answer = leader.runtime.propose(encode_batch([RawFrame(command=b"x")]), 1000)
    wait_for(lambda: all(b"x" in peer.application.journal.commands for peer in peers.values()))
    read = None
    while not isinstance(read, ReadAt):
        read = leader_of(peers).runtime.read(1000)
    assert read.index >= answer.index
    assert not any(peer.failures for peer in peers.values())


@pytest.mark.slow
def test_a_stopped_leader_is_replaced_and_leaves_no_thread_timing_sensitive(peers: dict[MemberId, Peer]) -> None:
    leader = leader_of(peers)
    began_s = time.monotonic()
    assert leader.runtime.stop(LONG_S) == []
    assert time.monotonic() - began_s < LONG_S / 2
    others = {number: peer for number, peer in peers.items() if peer is not leader}
    leader_of(others)
    for peer in others.values():
        assert peer.runtime.stop(LONG_S) == []
    assert not DAEMONS & {thread.name for thread in threading.enumerate()}


@pytest.mark.slow
def test_who_waits_when_a_peer_stops_is_told_that_nobody_knows_timing_sensitive(peers: dict[MemberId, Peer]) -> None:
    for peer in peers.values():
        assert peer.runtime.stop(LONG_S) == []
    for peer in peers.values():
        assert peer.runtime.propose(b"", int(LONG_S * 1000)) is None
        assert peer.runtime.read(int(LONG_S * 1000)) is None


@pytest.mark.slow
def test_a_broken_disk_is_reported_with_its_daemons_name_timing_sensitive(peers: dict[MemberId, Peer]) -> None:
    leader = leader_of(peers)
    leader.disk.broken = True
    leader.runtime.propose(encode_batch([RawFrame(command=b"x")]), 1000)
    assert leader.failed.wait(LONG_S)
    assert leader.failures[0].startswith("disk: StorageFailed: the disk is broken")
    assert [str(failure) for failure in leader.runtime.stop(LONG_S)] == leader.failures[:1]


@pytest.mark.slow
def test_what_is_no_message_is_counted_and_gets_no_answer_timing_sensitive(peers: dict[MemberId, Peer]) -> None:
    runtime = peers[MemberId(1)].runtime
    assert runtime.receive(b"not a message") is None
    runtime.chains_reported(b"neither")
    wait_for(lambda: runtime.gauges().dropped == {"malformed": 2})


def propose(peers: dict[MemberId, Peer], *commands: bytes) -> None:
    """Until each of these is in the log of a leader."""
    data = encode_batch([RawFrame(command=command) for command in commands])
    while not isinstance(leader_of(peers).runtime.propose(data, 1000), Started):
        pass


def save(peer: Peer, known: int) -> int:
    """Have a snapshot above this index."""
    wait_for(lambda: peer.runtime.engine.feed.applied_index > known)
    saved = None
    while not isinstance(saved, Saved):
        saved = peer.runtime.save_snapshot(1000)
    assert saved.index in peer.disk.snapshots
    return saved.index


def read_through(peer: Peer, restore: exchange.Restore) -> Iterator[memoryview]:
    """The peer's snapshot, as its application reads it."""
    offset, ends = 0, False
    while not ends:
        request = SliceRequest(
            cluster_id=restore.cluster_id,
            asker=directory_id(9),
            term=restore.term,
            index=restore.index,
            offset=offset,
            bytes_max=1000,
            by_reference=True,
        )
        found = peer.runtime.read_snapshot(SLICE_REQUEST.encode(request))
        assert found is not None, "gone"
        yield from checked(found[0], memoryview(found[1]))
        offset, ends = found[0].behind, found[0].ends


@pytest.mark.slow
def test_who_lags_is_sent_a_snapshot_and_its_application_goes_on_from_it_timing_sensitive(
    peers: dict[MemberId, Peer],
) -> None:
    leader = leader_of(peers)
    lagging = next(peer for peer in peers.values() if peer is not leader)
    lagging.transport.cut_off = True
    others = {number: peer for number, peer in peers.items() if peer is not lagging}
    saved = dict.fromkeys(others, 0)
    for round_ in range(2):  # then their logs begin at the first one
        propose(others, *(b"%d-%d" % (round_, number) for number in range(100)))
        saved = {number: save(peer, saved[number]) for number, peer in others.items()}
    wait_for(lambda: "install_snapshot" in lagging.transport.missed)
    lagging.transport.cut_off = False
    wait_for(lambda: bool(lagging.disk.snapshots))
    before = lagging.application
    wait_for(lambda: before.closed)  # what it needs next is nowhere any more (contracts 10 b)

    before.host.detach()
    lagging.attach(cluster_id=lagging.cluster_id)
    restore = before.restores.get(timeout=LONG_S)
    restored = Application()
    restored.host.restore(read_through(lagging, restore))
    assert restored.host.applied_index == restore.index > before.host.applied_index
    lagging.attach(restored, cluster_id=restore.cluster_id)
    assert restored.ready.wait(LONG_S)
    propose(peers, b"the end")
    wait_for(lambda: all(b"the end" in peer.application.journal.commands for peer in peers.values()))
    wait_for(lambda: len({tuple(peer.application.journal.commands) for peer in peers.values()}) == 1)
    assert not any(peer.failures for peer in peers.values())
