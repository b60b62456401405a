"""The daemons of three running peers in one process: real threads and real time, no Ray."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from raft_actors.application import exchange
from raft_actors.application.exchange import Attach, Epoch, ReadAt, Started
from raft_actors.application.frames import RawFrame, encode_batch
from raft_actors.application.host import ApplicationHost
from raft_actors.application.settings import SessionLimits
from raft_actors.codec import cluster_id_of
from raft_actors.config import RaftConfig
from raft_actors.core.entries import Configuration, Genesis, Member
from raft_actors.core.state import State
from raft_actors.core.types import LogIndex, MemberId, Role
from raft_actors.peer.clock import MonotonicClock
from raft_actors.peer.links import Done
from raft_actors.peer.runtime import Runtime
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
    heartbeat_interval_ms=20, election_timeout_ms_min=80, election_timeout_ms_max=240, check_quorum_ms=240
)
LONG_S = 20.0


class InProcess:
    """Calls between the peers of one process, each in a thread of a pool."""

    def __init__(self, peers: dict[MemberId, Peer], workers: ThreadPoolExecutor) -> None:
        self._peers = peers
        self._workers = workers

    def call(self, to: MemberId, method: str, data: bytes, done: Done) -> None:
        self._workers.submit(self._call, to, method, data, done)

    def _call(self, to: MemberId, method: str, data: bytes, done: Done) -> None:
        runtime = self._peers[to].runtime
        if method == "report_chains":
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
        self.closed = False

    def attached(self, answer: exchange.Attached) -> None:
        self.ready.set()

    def apply(self, request: exchange.Apply, done: Done) -> None:
        done(exchange.APPLY_ANSWER.encode(self.host.apply(request)))

    def term_lost(self, news: exchange.TermLost) -> None:
        self.host.term_lost(news)

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
        self.application = Application()
        self.failures: list[str] = []
        self.failed = threading.Event()
        storage = MemoryStorage.open(self.disk, group=GROUP, member_id=MemberId(number))
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
        self.runtime = Runtime(
            state=state,
            genesis=genesis,
            config=config,
            clock=MonotonicClock(),
            dice=random.Random(number),
            storage=storage,
            transport=transport,
            note=lambda kind, details: None,
            failed=self._failed,
        )

    def _failed(self, why: str, failure: BaseException | None) -> None:
        self.failures.append(why)
        self.failed.set()

    def attach(self) -> None:
        epoch = Epoch(bytes(16))
        self.application.host.attach(epoch)
        request = Attach(epoch=epoch, cluster_id=None, applied_index=LogIndex(0), checkpoints=(), provenance=None)
        self.runtime.attach(request, self.application)
        assert self.application.ready.wait(LONG_S), "never attached"

    @property
    def leads(self) -> bool:
        return self.runtime.engine.state.role is Role.LEADER


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
