"""Invitations on their way from one peer to members that have no log yet, in simulated time.

Here:   `Invitations`: calls like others, which end without an answer; `CallId`, by which calls between peers are known.
Never:  whom a leader invites, and when (raft_actors/peer/invitations.py), who takes an invitation (member.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from raft_actors.core.types import DirectoryId, MemberId, RpcId
from raft_actors.envelopes import Join, encode_join
from raft_actors.faults.rules import Message, Part
from tests.sim.transfers import Fetch

if TYPE_CHECKING:
    from tests.sim.peer import PeerProcess

METHOD: Final = "join"


@dataclass(frozen=True, slots=True, eq=False)
class Invitation:
    """One call that invites a member."""

    to: MemberId


CallId: TypeAlias = RpcId | Fetch | Invitation
"""Of Raft, for a slice of a snapshot, an invitation."""


class Invitations:
    """Of one process."""

    def __init__(self, process: PeerProcess) -> None:
        self._process = process
        self._open: set[Invitation] = set()

    def invite(self, to: MemberId, directory_id: DirectoryId) -> None:
        """As `Ports` says."""
        process, world, invitation = self._process, self._process.member.world, Invitation(to)
        callee = world.callee(process, to)
        self._open.add(invitation)
        world.network.send(
            Message(process.member.member_id, callee.member_id, METHOD, Part.REQUEST),
            None,
            lambda content: callee.arrives(process, invitation, content),
            encode_join(Join(directory_id=directory_id, genesis=world.genesis)),
            lambda delay_us: process.fail_call(invitation, delay_us),
        )

    def ended(self, invitation: Invitation) -> None:
        """Whatever came of it; Ray ends a call once."""
        if invitation in self._open:
            self._open.remove(invitation)
            self._process.engine.invitations.ended(invitation.to)
