"""What a test of a peer's life has around it: a node that outlives the process, a peer started on it, its state.

Here:   helpers for test modules; the fixture that starts and ends peers is in conftest.py.
Never:  assertions about one subject.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import pytest

from raft_actors.application import exchange
from raft_actors.application.exchange import Attach
from raft_actors.codec import cluster_id_of
from raft_actors.config import RaftConfig
from raft_actors.core.entries import Configuration, Genesis, Member
from raft_actors.core.types import DirectoryId, LogIndex, MemberId
from raft_actors.errors import PeerFailed
from raft_actors.peer.links import Done, Transport
from raft_actors.peer.peer import Peer
from raft_actors.storage.interface import Storage
from raft_actors.storage.memory import MemoryDisk, MemoryStorage
from tests.application.builders import EPOCH
from tests.peer.test_runtime import LONG_S, Application, wait_for
from tests.rig.disks import GROUP, directory_id

ONE = MemberId(1)
QUIET = RaftConfig(election_timeout_ms_min=600_000, election_timeout_ms_max=900_000, check_quorum_ms=900_000)
"""Nobody campaigns while a test lasts."""
QUICK = RaftConfig(
    heartbeat_interval_ms=20, election_timeout_ms_min=80, election_timeout_ms_max=160, check_quorum_ms=160
)
ATTACH = Attach(epoch=EPOCH, cluster_id=None, applied_index=LogIndex(0), checkpoints=(), provenance=None)


def genesis(*numbers: int, group: str = GROUP, directory_ids: Callable[[int], DirectoryId] = directory_id) -> Genesis:
    members = tuple(
        Member(member_id=MemberId(number), directory_id=directory_ids(number), voter=True) for number in numbers or (1,)
    )
    return Genesis(
        cluster_id=cluster_id_of(group, members, b""),
        group=group,
        configuration=Configuration(members=members),
        settings=b"",
    )


def elsewhere(number: int) -> DirectoryId:
    """Another directory than the one this member has."""
    return directory_id(number, wipes=1)


class Unreachable:
    """A transport whose calls never end; `failure` is raised by the next one."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.closed = False

    def call(self, to: MemberId, method: str, data: bytes, done: Done) -> None:
        if self.failure is not None:
            raise self.failure

    def know(self, others: tuple[MemberId, ...]) -> None:
        self.known = others

    def close(self) -> None:
        self.closed = True


class Node:
    """What outlives the process: a disk and a STOPPED file; and what a test wants to go wrong (surroundings.py)."""

    def __init__(self, holding: Genesis | None = None) -> None:
        self.disk = MemoryDisk(directory_id=directory_id(1))
        if holding is not None:
            self.disk.groups.append((holding,))
        self.refusals: list[Exception] = []
        """Raised by the next opens, in order."""
        self.refusing: Exception | None = None
        """Raised by every open."""
        self.may_open, self.may_stop = threading.Event(), threading.Event()
        self.may_open.set()
        self.may_stop.set()
        self.opening, self.ended = threading.Event(), threading.Event()
        self.stopped: str | None = None
        self.unwritable: Exception | None = None
        self.end_reasons: list[str] = []
        self.transport = Unreachable()
        self.others: tuple[MemberId, ...] = ()
        self.hello = b""

    def open_storage(self) -> Storage:
        self.opening.set()
        assert self.may_open.wait(LONG_S)
        if self.refusals:
            raise self.refusals.pop(0)
        if self.refusing is not None:
            raise self.refusing
        return MemoryStorage.open(self.disk, group=GROUP, member_id=ONE)

    def open_transport(self, others: tuple[MemberId, ...], hello: bytes) -> Transport:
        self.others, self.hello = others, hello
        return self.transport

    def stopped_reason(self) -> str | None:
        return self.stopped

    def peek(self) -> DirectoryId | None:
        return self.disk.directory_id

    def write_stopped(self, reason: str) -> None:
        assert self.may_stop.wait(LONG_S)
        if self.unwritable is not None:
            raise self.unwritable
        self.stopped = reason

    def clear_stopped(self) -> None:
        self.stopped = None

    def end_process(self, why: str) -> None:
        self.end_reasons.append(why)
        self.ended.set()


class Link(Application):
    """An application's link that hands its answers to the test."""

    def __init__(self) -> None:
        super().__init__()
        self.answered: queue.SimpleQueue[tuple[int, object]] = queue.SimpleQueue()

    def proposal_answered(self, number: int, answer: exchange.ProposeAnswer | None) -> None:
        self.answered.put((number, answer))

    def read_answered(self, number: int, answer: exchange.ReadAnswer | None) -> None:
        self.answered.put((number, answer))


Begin = Callable[..., Peer]


def state_of(peer: Peer) -> str:
    state: str = peer.describe()["state"]
    return state


def wait_for_state(peer: Peer, state: str) -> None:
    wait_for(lambda: state_of(peer) == state)


def error_of(peer: Peer) -> str:
    return str(peer.describe()["error"])


def failures_of(peer: Peer) -> list[str]:
    with pytest.raises(PeerFailed) as raised:
        peer.kill(LONG_S)
    failures: list[str] = raised.value.failures
    assert str(raised.value) == f"member 1: {'; '.join(failures)}"
    return failures
