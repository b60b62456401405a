"""What an administrator asks of a peer about the group's members, in whatever state the peer is.

Here:   `Administration`.
Never:  what follows (runtime.py, core), who asks whom and how often (raft_actors/cluster/membership.py).
"""

from __future__ import annotations

from raft_actors.application import exchange
from raft_actors.core.effects import ChangeRefusal, ChangeRefused, ChangeStarted, TransferEnd, TransferEnded
from raft_actors.core.events import Change
from raft_actors.core.types import DirectoryId, LogIndex
from raft_actors.peer.membership import Membership
from raft_actors.peer.peer import ASK_TIMEOUT_MS, Peer


class Administration:
    """The administrator's view of a peer. Each call blocks its thread, within a deadline."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def membership(self) -> Membership | exchange.NotLeader | None:
        """Who belongs to the group, confirmed as a read is. None: not confirmed in time."""
        runtime = self._peer.runtime
        return exchange.NotLeader(leader=None) if runtime is None else runtime.membership(ASK_TIMEOUT_MS)

    def change(self, made_for: LogIndex, change: Change) -> ChangeStarted | ChangeRefused | None:
        """Append another configuration (dissertation §4.1). None: nobody knows."""
        runtime = self._peer.runtime
        if runtime is None:
            return ChangeRefused(change_id=0, reason=ChangeRefusal.NOT_LEADER, leader=None)
        return runtime.change(made_for, change, ASK_TIMEOUT_MS)

    def transfer(self, to: DirectoryId | None, timeout_ms: int) -> TransferEnded | None:
        """Hand leadership over (dissertation §3.10). None: not over in time, and it goes on."""
        runtime = self._peer.runtime
        if runtime is None:
            return TransferEnded(transfer_id=0, done=False, why=TransferEnd.NOT_LEADER)
        return runtime.transfer(to, timeout_ms)
