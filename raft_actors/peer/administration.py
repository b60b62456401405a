"""What an administrator asks of a peer about the group's members, in whatever state the peer is.

Here:   `Administration`.
Never:  what follows (runtime.py, core), who asks whom and how often (raft_actors/cluster/membership.py).
"""

from __future__ import annotations

from raft_actors.application import exchange
from raft_actors.core.effects import ChangeRefusal, ChangeRefused, ChangeStarted, TransferEnd, TransferEnded
from raft_actors.core.events import AddMember, Change, Promote, RemoveMember, RemovePlace
from raft_actors.core.types import DIRECTORY_ID_BYTES, DirectoryId, LogIndex, MemberId
from raft_actors.errors import ConfigError
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
        """Append another configuration (dissertation §4.1). None: nobody knows.

        What comes from outside is looked at here: the core takes its callers at their word. Raises `ConfigError`.
        """
        _require_well_formed(made_for, change)
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


MEMBER_ID_MAX = 9999
"""Names of actors have four digits for it."""


def _require_well_formed(made_for: LogIndex, change: Change) -> None:
    match change:
        case AddMember(member=member):
            fits = _is_member_id(member.member_id) and _is_directory_id(member.directory_id)
        case Promote(directory_id=directory_id) | RemoveMember(directory_id=directory_id):
            fits = _is_directory_id(directory_id)
        case RemovePlace(member_id=member_id):
            fits = _is_member_id(member_id)
        case _:
            fits = False
    if not fits or type(made_for) is not int or made_for < 0:
        raise ConfigError(f"{change!r} for configuration {made_for!r} is no change of members: use kv.membership")


def _is_member_id(value: MemberId) -> bool:
    return type(value) is int and 0 <= value <= MEMBER_ID_MAX


def _is_directory_id(value: DirectoryId) -> bool:
    return type(value) is bytes and len(value) == DIRECTORY_ID_BYTES
