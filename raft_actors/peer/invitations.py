"""Members that are listed, and have no log yet, are handed the group's record by the leader (contracts 10 a).

Here:   `Invitations`: whom a leader invites, and when.
Never:  the call (perform.py), what the invited one does with it (peer.py), who is listed (core).

A directory that was added holds nothing, not even the cluster's id; its peer is `uninitialised` and obeys nobody. The
leader that added it may be gone before it could tell, so *every* leader tells whomever its configuration lists and who
does not answer it. It is told by its directory: another one in that place does not take it. Taking it makes a member of
the new one, with an empty log; what it holds from then on, it was sent. It counts where a configuration says so, as
with everybody. Who belongs to the group already ignores it.
"""

from __future__ import annotations

from typing import Final, Protocol

from raft_actors.core.state import State
from raft_actors.core.types import DirectoryId, MemberId

SILENT_MS: Final = 300
"""Two lost heartbeats: who has been silent for longer may have nothing to answer with."""
INTERVAL_MS: Final = 1000
"""Between two invitations of one member, and at most one is under way: the silent one may be dead for days."""


class InvitationPorts(Protocol):
    """What inviting asks of the world."""

    def invite(self, to: MemberId, directory_id: DirectoryId) -> None:
        """Hand it the group's record, for this directory; later, once: `invitation_ended(to)`."""
        ...


class Invitations:
    """Of one leader; a follower invites nobody."""

    def __init__(self, state: State, ports: InvitationPorts) -> None:
        self._state = state
        self._ports = ports
        self._under_way: dict[MemberId, DirectoryId] = {}
        """By place, the directory that is being invited. A call for one that was replaced may never end, where its
        process is stopped; it keeps nobody else from being invited."""
        self._invited_ms: dict[MemberId, int] = {}

    def look(self, now_ms: int) -> None:
        """To be called every few tens of milliseconds."""
        leading = self._state.leading
        if leading is None:
            self._invited_ms.clear()
            return
        for progress in leading.progress.values():
            member_id = progress.member_id
            due = now_ms - self._invited_ms.get(member_id, now_ms - INTERVAL_MS) >= INTERVAL_MS
            silent = now_ms - progress.last_answer_ms >= SILENT_MS
            if silent and due and self._under_way.get(member_id) != progress.directory_id:
                self._invited_ms[member_id] = now_ms
                self._under_way[member_id] = progress.directory_id
                self._ports.invite(member_id, progress.directory_id)

    def ended(self, member_id: MemberId) -> None:
        """The call is over, whatever came of it: a member that took it answers from now on."""
        self._under_way.pop(member_id, None)
