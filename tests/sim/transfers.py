"""Slices of snapshots on their way to and from one peer, in simulated time.

Here:   `Transfers`: questions to its application and to other peers, and what is read here by them; references that
        are lost.
Never:  what is asked next (raft_actors/peer/snapshots.py), what a slice is (raft_actors/application/slices.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from raft_actors.application.exchange import ASK_SLICE, AskSlice, SliceRefused
from raft_actors.application.pipe import decode_slice, encode_slice
from raft_actors.application.slices import SLICE_REQUEST, Slice, SliceRequest
from raft_actors.core.types import MemberId
from raft_actors.errors import SnapshotDamaged
from raft_actors.faults.rules import Message, Part
from raft_actors.peer.shelf import SnapshotShelf
from tests.sim.link import Link
from tests.sim.steps import Step

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.peer import PeerProcess

METHOD: Final = "read_snapshot"
GONE: Final = "gone"
"""Answers a question for a snapshot that is not there."""

Found: TypeAlias = tuple[Slice, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Fetch:
    """One call to another peer for a slice of its snapshot."""

    job: int
    callee: Member
    source: PeerProcess | None
    """Who ran there when the call was made."""
    by_reference: bool


class Transfers:
    """Of one process."""

    def __init__(self, process: PeerProcess) -> None:
        self._process = process
        self._member = process.member
        self._world = process.member.world
        self._shelf = SnapshotShelf(process.storage.open_snapshot, process.member.clock)
        self._open: set[Fetch] = set()
        self._lost: int | None = None
        """The job whose last slice was lost."""

    def _now_ms(self) -> int:
        return self._member.clock.now_ms()

    def _asks(self, job: int) -> None:
        self._world.snapshot_step(Step.ASKED, self._member)
        if self._lost == job:
            self._world.watch.count("slice lost and asked for again")
        self._lost = None

    def _loses(self, job: int) -> None:
        self._lost = job
        self._process.engine.snapshots.slice_lost(job, self._now_ms())

    # -- its own application ------------------------------------------------------------------------------------------

    def ask_application(self, asked: AskSlice) -> None:
        """As `Ports` says."""
        link = self._process.link
        if link is not None:
            self._asks(asked.job)
            if self._world.options.codec:
                asked = ASK_SLICE.decode(ASK_SLICE.encode(asked))
            link.to_server(link.server.peer_asks_slice, link, asked, work=True)

    def given(self, link: Link, asked: AskSlice, given: Found | SliceRefused) -> None:
        """The application answers."""
        desk = self._process.engine.snapshots
        if isinstance(given, SliceRefused):
            desk.slice_refused(given.job, given.why, self._now_ms())
        elif asked.by_reference and self._world.loses_a_reference():
            self._loses(asked.job)
        else:
            slice_, data = given
            desk.slice_arrived(asked.job, slice_, memoryview(data), self._now_ms())

    def application_reads(self, link: Link, number: int, request: SliceRequest) -> None:
        """The application goes on from a snapshot of ours."""
        found = self._read(request)
        link.to_server(link.server.restoring.arrives, link, number, request.by_reference, found)

    # -- other peers --------------------------------------------------------------------------------------------------

    def ask_peer(self, to: MemberId, job: int, request: SliceRequest) -> None:
        """As `Ports` says."""
        self._asks(job)
        world = self._world
        callee = world.callee(self._process, to)
        fetch = Fetch(job, callee, callee.peer, request.by_reference)
        self._open.add(fetch)
        world.network.send(
            Message(self._member.member_id, callee.member_id, METHOD, Part.REQUEST),
            None,
            lambda content: callee.arrives(self._process, fetch, content),
            SLICE_REQUEST.encode(request) if world.options.codec else request,
            lambda delay_us: self._process.fail_call(fetch, delay_us),
        )

    def asked(self, caller: PeerProcess, fetch: Fetch, content: Any) -> None:
        """Another peer reads a snapshot of ours."""
        world = self._world
        request = SLICE_REQUEST.decode(content) if type(content) is bytes else content
        found = self._read(request)
        answer: Any = GONE if found is None else found
        world.network.send(
            Message(self._member.member_id, caller.member.member_id, METHOD, Part.REPLY),
            caller,
            lambda content: caller.call_ended(fetch, content),
            encode_slice(*found) if world.options.codec and found is not None else answer,
            lambda delay_us: caller.fail_call(fetch, delay_us),
        )
        world.snapshot_step(Step.SERVED, self._member)

    def ended(self, fetch: Fetch, content: Any) -> None:
        """A call to another peer brought this; None: nothing."""
        if fetch not in self._open:
            return  # Ray ends a call once
        self._open.remove(fetch)
        source = fetch.callee.peer
        if content is None and (source is None or source is not fetch.source):
            self._world.watch.count("transfer's source died")
        if content is None or (fetch.by_reference and self._world.loses_a_reference()):
            self._loses(fetch.job)
            return
        desk = self._process.engine.snapshots
        if content is GONE:
            desk.slice_refused(fetch.job, "the snapshot is gone", self._now_ms())
            return
        slice_, data = decode_slice(content) if type(content) is bytes else content
        if slice_.ends:
            self._world.snapshot_step(Step.FETCHED, self._member)
        desk.slice_arrived(fetch.job, slice_, memoryview(data), self._now_ms())

    def _read(self, request: SliceRequest) -> Found | None:
        """A file that cannot be read any more ends the process, once this has been answered."""
        try:
            return self._shelf.read(request, request.bytes_max)
        except (SnapshotDamaged, OSError) as damage:
            self._world.tell(self._process.name, str(damage))
            self._world.timeline.after(0, self._process, self._member.disk_failed)
            return None

    def sweep(self) -> None:
        """Now and then."""
        self._shelf.sweep()
