"""The socket between a peer and the application beside it: in order, without loss, and over when either process ends.

Here:   `Link`.
Never:  what is said over it (peer.py, server.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.sim.timeline import Act, Process

if TYPE_CHECKING:
    from tests.sim.peer import PeerProcess
    from tests.sim.server import ServerProcess
    from tests.sim.world import World


class Link:
    """One connection."""

    def __init__(self, world: World, peer: PeerProcess, server: ServerProcess) -> None:
        self.peer, self.server = peer, server
        self.is_open = True
        self.applies: set[int] = set()
        """Apply calls that the peer waits for."""
        self._world = world
        self._peer_reads_us = self._server_reads_us = 0

    def to_server(self, act: Act, *arguments: Any, work: bool = False) -> None:
        """One frame for the application; `work`: it has something to do before it can take it."""
        if self.is_open:
            self._server_reads_us = self._send(self._server_reads_us, self.server, act, arguments, work=work)

    def to_peer(self, act: Act, *arguments: Any) -> None:
        """One frame for the peer."""
        if self.is_open:
            self._peer_reads_us = self._send(self._peer_reads_us, self.peer, act, arguments)

    def close(self) -> None:
        """Either side ends it, or with it its process; both read what was sent before."""
        if self.is_open:
            self.to_server(self.server.link_ended, self)
            self.to_peer(self.peer.application_gone, self)
            self.is_open = False

    def _send(self, not_before_us: int, to: Process, act: Act, arguments: Any, *, work: bool = False) -> int:
        timeline = self._world.timeline
        at_us = max(not_before_us, timeline.now_us + self._world.socket_us(work=work))
        timeline.after(at_us - timeline.now_us, to, act, *arguments)
        return at_us
