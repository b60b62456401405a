"""What the application beside a peer asks of it, in whatever state the peer is.

Here:   `Beside` (door.Host).
Never:  the connection (door.py), what follows (runtime.py).
"""

from __future__ import annotations

from raft_actors.application import exchange
from raft_actors.application.slices import Slice
from raft_actors.peer.links import ApplicationLink
from raft_actors.peer.peer import ASK_TIMEOUT_MS, Peer


class Beside:
    """The application's view of a peer. Called by the threads that read from it."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def application_attaches(self, request: exchange.Attach, link: ApplicationLink) -> exchange.NotReady | None:
        """Accepted where the peer runs; `link.attached` follows."""
        runtime = self._peer.runtime
        if runtime is None:
            return exchange.NotReady(why=self._peer.why_not_running())
        runtime.attach(request, link)
        return None

    def application_proposes(self, data: bytes, link: ApplicationLink, number: int) -> None:
        """One entry."""
        runtime = self._peer.runtime
        if runtime is not None:
            runtime.begin_propose(data, link, number)
        else:
            link.close()  # it is not attached, and would wait for an answer that nobody gives

    def application_reads(self, link: ApplicationLink, number: int) -> None:
        """From which index on is a state new enough?"""
        runtime = self._peer.runtime
        if runtime is not None:
            runtime.begin_read(link, number, ASK_TIMEOUT_MS)
        else:
            link.close()

    def slice_arrived(self, job: int, slice_: Slice, data: memoryview) -> None:
        """The next bytes of its state."""
        runtime = self._peer.runtime
        if runtime is not None:
            runtime.slice_arrived(job, slice_, data)

    def slice_lost(self, job: int) -> None:
        """They were in the object store, and are not any more."""
        runtime = self._peer.runtime
        if runtime is not None:
            runtime.slice_lost(job)

    def slice_refused(self, refused: exchange.SliceRefused) -> None:
        """It gives none."""
        runtime = self._peer.runtime
        if runtime is not None:
            runtime.slice_refused(refused)

    def application_gone(self, link: ApplicationLink) -> None:
        """The connection ended."""
        runtime = self._peer.runtime
        if runtime is not None:
            runtime.application_gone(link)
