"""An application that goes on from a snapshot of the peer beside it: what the actor does, in simulated time.

Here:   `Restoring`: one slice after the other over the link, then a new host; from the beginning if anything ends it.
Never:  what a peer reads (raft_actors/peer/shelf.py), what a state is (raft_actors/application/host.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raft_actors.application.exchange import Restore
from raft_actors.application.slices import Slice, SliceRequest, checked
from raft_actors.core.types import DIRECTORY_ID_BYTES, DirectoryId
from tests.sim.link import Link
from tests.sim.steps import Step

if TYPE_CHECKING:
    from tests.sim.server import ServerProcess

SLICE_TIMEOUT_US = 2_000_000


class Restoring:
    """Of one server process; one snapshot at a time."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._world = server.member.world
        self._asked = 0
        """Number of the question under way, or of the last one."""
        self._news: Restore | None = None
        """What is being read."""
        self._asker = DirectoryId(bytes(DIRECTORY_ID_BYTES))
        self._behind = 0
        self._state: list[memoryview] = []

    def begin(self, link: Link, news: Restore) -> None:
        """The peer says which snapshot to go on from."""
        self._news, self._behind, self._state = news, 0, []
        self._asker = DirectoryId(self._world.dice.randbytes(DIRECTORY_ID_BYTES))
        self._ask(link, by_reference=True)

    def stop(self) -> None:
        """The link is gone; there will be another one, and perhaps another snapshot."""
        self._news, self._state = None, []
        self._asked += 1

    def _ask(self, link: Link, *, by_reference: bool) -> None:
        news = self._news
        assert news is not None, "nothing is being read"
        self._asked += 1
        request = SliceRequest(
            cluster_id=news.cluster_id,
            asker=self._asker,
            term=news.term,
            index=news.index,
            offset=self._behind,
            bytes_max=self._world.options.config.snapshot_slice_bytes_max,
            by_reference=by_reference,
        )
        link.to_peer(link.peer.transfers.application_reads, link, self._asked, request)
        self._world.timeline.after(SLICE_TIMEOUT_US, self._server, self._is_late, link, self._asked)

    def _is_late(self, link: Link, asked: int) -> None:
        if asked == self._asked:
            link.close()

    def arrives(self, link: Link, asked: int, by_reference: bool, found: tuple[Slice, bytes] | None) -> None:
        """The slice that was asked for; None: that snapshot is gone."""
        if link is not self._server.link or asked != self._asked:
            return
        if found is None:
            self._world.watch.count("snapshot gone while an application read it")
            link.close()
        elif by_reference and self._world.loses_a_reference():
            self._ask(link, by_reference=False)
        else:
            self._take(link, *found)

    def _take(self, link: Link, slice_: Slice, data: bytes) -> None:
        assert slice_.offset == self._behind, f"asked for byte {self._behind}, got {slice_.offset}"
        self._state += checked(slice_, memoryview(data))
        self._behind = slice_.behind
        self._world.snapshot_step(Step.RESTORING, self._server.member)
        if not slice_.ends:
            self._ask(link, by_reference=True)
            return
        self._asked += 1
        self._world.timeline.after(self._world.socket_us(work=True), self._server, self._restore, link, self._asked)

    def _restore(self, link: Link, asked: int) -> None:
        if link is not self._server.link or asked != self._asked:
            return
        news = self._news
        assert news is not None, "nothing was read"
        machine, host = self._server.fresh_host(news.settings)
        host.restore(self._state)
        self.stop()
        self._server.restored(link, machine, host)
