"""`Peer` behind Ray's door. Nothing is decided here.

Here:   the RaftPeer actor, its options, each with its reason, and what only a process on a node can know.
Never:  Raft.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, replace
from typing import Any, Final

import psutil
import ray

from raft_actors._version import __version__
from raft_actors.application import exchange
from raft_actors.application.frames import RawFrame, encode_batch
from raft_actors.application.object_store import GET_TIMEOUT_S, Bytes, share, shared
from raft_actors.application.pipe import door_address
from raft_actors.application.slices import INLINE_BYTES_MAX, SLICE, SLICE_REQUEST
from raft_actors.core.effects import ChangeRefused, ChangeStarted, TransferEnded
from raft_actors.core.events import AddMember, Promote, RemoveMember, RemovePlace
from raft_actors.core.types import DirectoryId, LogIndex, MemberId
from raft_actors.errors import OperationError
from raft_actors.faults.follower import follow
from raft_actors.names import NAMESPACE
from raft_actors.peer.administration import Administration
from raft_actors.peer.beside import Beside
from raft_actors.peer.door import ApplicationDoor
from raft_actors.peer.engine import PENDING_CALLS_MAX
from raft_actors.peer.links import Transport
from raft_actors.peer.membership import Membership
from raft_actors.peer.peer import Peer
from raft_actors.peer.snapshots import NotSaved, Saved
from raft_actors.peer.surroundings import PeerOptions
from raft_actors.peer.transport import RayTransport
from raft_actors.process import give_memory_back, log_to_stderr, prefer_this_process
from raft_actors.storage.directory import clear_stopped, read_stopped, write_stopped
from raft_actors.storage.interface import OpenStorage, Storage
from raft_actors.storage.place import member_path
from raft_actors.storage.visit import peek_identity
from raft_actors.wire import DIRECT

LOG: Final = logging.getLogger("raft_actors.peer")

ANSWER_S: Final = 0.2
"""For `kill`'s answer to be on its way before its process ends."""
LEAVE_S: Final = 5.0
"""For Ray to end a process that asked for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerPlace:
    """Where a peer keeps its data, and through what."""

    data_dir: str | None
    """Root of the data directories, expanded on the node; None: the default."""
    allow_unsafe_data_dir: bool
    open_storage: OpenStorage


class RayPeer:
    """The methods of the actor; `RaftPeer` below gives them their concurrency groups."""

    def __init__(self, options: PeerOptions, place: PeerPlace) -> None:
        prefer_this_process()
        give_memory_back()
        log_to_stderr()
        self._member = options.member_id
        self._peer = Peer(options, _Node(options, place))
        self._beside = Beside(self._peer)
        self._administration = Administration(self._peer)
        session = ray.get_runtime_context().get_session_name()
        self._door = ApplicationDoor(door_address(session, options.group, options.member_id), self._beside)

    def __repr__(self) -> str:
        return f"RaftPeer({self._member})"

    # -- other peers --------------------------------------------------------------------------------------------------

    @ray.method(concurrency_group="raft")
    def request_vote(self, data: bytes) -> bytes | None:
        """RequestVote and PreVote (Raft Fig. 2, dissertation §9.6)."""
        return self._peer.receive(data)

    @ray.method(concurrency_group="raft")
    def append_entries(self, data: bytes) -> bytes | None:
        """AppendEntries (Raft Fig. 2)."""
        return self._peer.receive(data)

    @ray.method(concurrency_group="raft")
    def install_snapshot(self, data: bytes) -> bytes | None:
        """InstallSnapshot (Raft Fig. 13): the offer; the state is fetched beside it."""
        return self._peer.receive(data)

    @ray.method(concurrency_group="admin")
    def hello(self, data: bytes) -> None:
        """Another peer (re)started as a new incarnation."""
        self._peer.hello(data)

    @ray.method(concurrency_group="admin")
    def report_chains(self, data: bytes) -> None:
        """Another peer compares state chains."""
        self._peer.report_chains(data)

    # -- snapshots ----------------------------------------------------------------------------------------------------

    @ray.method(concurrency_group="snapshots")
    def read_snapshot(self, request: bytes) -> tuple[bytes, Bytes] | None:
        """A slice of this member's snapshot file (slices.py), and its bytes or a reference to them; None: it is gone.

        For peers that lag, and for the application beside this one.
        """
        found = self._peer.read_snapshot(request)
        if found is not None and found[0].size > INLINE_BYTES_MAX:
            reference = share(found[1])
            if reference is not None:
                return SLICE.encode(found[0]), reference
            found = self._peer.read_snapshot(  # the store is full: less, and within this answer
                SLICE_REQUEST.encode(replace(SLICE_REQUEST.decode(request), by_reference=False))
            )
        return None if found is None else (SLICE.encode(found[0]), found[1])

    @ray.method(concurrency_group="snapshots")
    def snapshot_header(self) -> bytes | None:
        """What the newest snapshot of this member stands for, as its file begins (storage/snapshot_records.py)."""
        return self._peer.snapshot_header()

    @ray.method(concurrency_group="snapshots")
    def take_slice(self, job: int, head: bytes, reference: list[Any]) -> None:
        """Bytes of the state of the application beside this peer, which asked for them."""
        data = shared(reference, GET_TIMEOUT_S)
        if data is None:
            self._beside.slice_lost(job)
        else:
            self._beside.slice_arrived(job, SLICE.decode(head), data)

    @ray.method(concurrency_group="save")
    def save_snapshot(self, timeout_s: float = 60.0) -> int:
        """Ruaft's `save_snapshot`: have a snapshot of what this member has applied, however small its log.

        The index of the last entry that it covers, once it is durable. Raises `OperationError`; it may still be taken
        where the outcome is unknown.
        """
        match self._peer.save_snapshot(int(timeout_s * 1000)):
            case Saved(index=index):
                return index
            case NotSaved(why=why):
                raise OperationError(f"no snapshot was taken: {why}")
            case None:
                raise OperationError(f"no snapshot within {timeout_s:.0f} s; it goes on", outcome="unknown")

    # -- people -------------------------------------------------------------------------------------------------------

    @ray.method(concurrency_group="admin")
    def start(self, command: bytes) -> exchange.Started | exchange.NotLeader:
        """Ruaft's `start`: append one command without a session. Whether it commits, the applied entries tell.

        Raises `OperationError`, definite when nothing was appended.
        """
        answer = self._peer.propose(encode_batch([RawFrame(command=bytes(command))]))
        match answer:
            case exchange.Started() | exchange.NotLeader():
                return answer
            case None:
                raise OperationError(
                    "the peer did not answer in time; the command may be in the log", outcome="unknown"
                )
            case _:
                raise OperationError(f"nothing was appended ({type(answer).__name__}); try again later")

    @ray.method(concurrency_group="admin")
    def verify_authority(self) -> exchange.ReadAt | exchange.NotLeader:
        """Ruaft's `verify_authority`: the index from which on a state is new enough for a read that begins now."""
        match self._peer.read():
            case exchange.ReadAt() | exchange.NotLeader() as answer:
                return answer
            case _:
                raise OperationError("no majority confirmed in time that this peer leads; ask again")

    @ray.method(concurrency_group="admin")
    def get_state(self) -> tuple[int, bool]:
        """(term, is leader), stale at once."""
        return self._peer.get_state()

    @ray.method(concurrency_group="admin")
    def describe(self) -> dict[str, Any]:
        """Who this is and what it holds; in every state."""
        return {**self._peer.describe(), **_where()}

    @ray.method(concurrency_group="admin")
    def status(self) -> dict[str, Any]:
        """One row of `kv.status`; in every state."""
        return {**self._peer.status(), **_where()}

    @ray.method(concurrency_group="admin")
    def events(self, process: int, after: int) -> list[dict[str, Any]]:
        """Events since number `after` of `process`, for the recorder."""
        return self._peer.journal.since(process, after)

    @ray.method(concurrency_group="admin")
    def bootstrap(self, genesis: bytes) -> str | None:
        """Take the group's genesis record, once; None when it is ours. Otherwise why not."""
        return self._peer.bootstrap(genesis)

    @ray.method(concurrency_group="admin")
    def join(self, data: bytes) -> None:
        """A leader hands over the group's record, for a directory that is empty."""
        self._peer.join(data)

    # -- membership ---------------------------------------------------------------------------------------------------

    @ray.method(concurrency_group="admin")
    def membership(self) -> Membership | exchange.NotLeader | None:
        """Who belongs to the group, as its confirmed leader knows it; None: no majority confirmed in time."""
        return self._administration.membership()

    @ray.method(concurrency_group="admin")
    def change_membership(
        self, made_for: int, change: AddMember | Promote | RemoveMember | RemovePlace
    ) -> ChangeStarted | ChangeRefused | None:
        """Append another configuration, for the one in force at `made_for`. None: it may be in the log."""
        return self._administration.change(LogIndex(made_for), change)

    @ray.method(concurrency_group="save")
    def transfer_leadership(self, to: bytes | None, timeout_s: float) -> TransferEnded | None:
        """Hand leadership to the voter with this directory, or to the best. None: it goes on."""
        return self._administration.transfer(None if to is None else DirectoryId(to), int(timeout_s * 1000))

    @ray.method(concurrency_group="admin")
    def kill(self, timeout_s: float = 10.0) -> None:
        """Ruaft's `kill`: end cleanly, raise what was recorded, then leave the process."""
        me = ray.get_runtime_context().current_actor
        try:
            self._peer.kill(timeout_s)
        finally:
            threading.Timer(ANSWER_S, _leave, (me,)).start()

    @ray.method(concurrency_group="admin")
    def restart(self) -> None:
        """Clear a STOPPED file and start the process anew."""
        self._peer.restart()


def _leave(me: Any) -> None:
    """End this actor and its process for good.

    Not `exit_actor`: it waits for every call that this process made, to a peer that stands still as to itself, and
    meanwhile the actor keeps its name and answers nobody, so that nothing comes in its place.
    """
    try:
        ray.kill(me, no_restart=True)
        time.sleep(LEAVE_S)
    finally:  # nobody at Ray's end to ask
        os._exit(1)


RaftPeer: Any = ray.remote(
    # Eager OS threads, and only settable here. Raft's own calls never wait behind an administrator's.
    concurrency_groups={"raft": 4, "snapshots": 3, "save": 1, "admin": 3}
)(RayPeer)


def peer_actor_options(name: str) -> dict[str, Any]:
    """Options of every peer actor, each with its reason; where it runs is placement's business."""
    return {
        "name": name,
        "namespace": NAMESPACE,
        "lifetime": "detached",  # outlives the driver that started the group
        "max_restarts": -1,  # docs/adr/0004: Ray restarts it wherever its pin allows, without anyone awake
        "max_task_retries": 0,  # a call runs at most once: retries are ours, with the same numbers
        "max_pending_calls": PENDING_CALLS_MAX,  # a stopped peer must not eat the sender's memory
        "num_cpus": 0,  # three peers must fit beside a laptop's own work
        "enable_task_events": False,  # nobody looks at single Raft messages in Ray's task list; it costs time on each
    }


def _where() -> dict[str, Any]:
    context = ray.get_runtime_context()
    return {
        "node_id": context.get_node_id(),
        "node": ray.util.get_node_ip_address(),
        "pid": os.getpid(),
        "rss_bytes": psutil.Process().memory_info().rss,
        "version": __version__,
    }


class _Node:
    """What a peer needs of its node (surroundings.py)."""

    def __init__(self, options: PeerOptions, place: PeerPlace) -> None:
        self._options = options
        self._place = place
        self._opened: DirectoryId | None = None
        """The directory that was opened; None: none was."""
        self._path = member_path(place.data_dir, options.group, options.member_id)

    def open_storage(self) -> Storage:
        storage = self._place.open_storage(
            self._path,
            group=self._options.group,
            member_id=self._options.member_id,
            segment_bytes_max=self._options.config.segment_bytes,
            allow_unsafe_data_dir=self._place.allow_unsafe_data_dir,
        )
        self._opened = storage.recovered.incarnation.directory_id
        return storage

    def peek(self) -> DirectoryId | None:
        return peek_identity(self._path, group=self._options.group, member_id=self._options.member_id)

    def open_transport(self, others: tuple[MemberId, ...], hello: bytes) -> Transport:
        options = self._options
        wire = follow(options.group, options.member_id) if options.faults else DIRECT
        return RayTransport(options.group, others, hello, wire)

    def stopped_reason(self) -> str | None:
        return read_stopped(self._path) if os.path.isdir(self._path) else None

    def write_stopped(self, reason: str) -> None:
        """Into our own directory: another one may be in its place by now, and its member runs."""
        if self._opened in (None, self.peek()):
            write_stopped(self._path, reason)

    def clear_stopped(self) -> None:
        if os.path.isdir(self._path):
            clear_stopped(self._path)

    def end_process(self, why: str) -> None:
        LOG.error("group=%s member=%s ends its process: %s", self._options.group, self._options.member_id, why)
        logging.shutdown()
        os._exit(1)  # not exit_actor: Ray shall start the actor again
