"""The world as one peer's engine sees it.

Here:   `Ports`, what an engine asks of its surroundings.
Never:  who does it (perform.py with threads; tests by hand and in simulated time).
"""

from __future__ import annotations

from typing import Protocol

from raft_actors.application import exchange
from raft_actors.core.effects import ChangeRefused, ChangeStarted, Persist, TransferEnded
from raft_actors.core.messages import Envelope
from raft_actors.core.types import LogIndex, MemberId, RequestId, RpcId
from raft_actors.peer.chain_watch import ChainPorts
from raft_actors.peer.feed import ApplyCall
from raft_actors.peer.invitations import InvitationPorts
from raft_actors.peer.snapshots import SnapshotPorts


class Ports(ChainPorts, SnapshotPorts, InvitationPorts, Protocol):
    """The world as one peer sees it. Nothing here blocks, raises or calls back into the engine."""

    def write(self, persist: Persist) -> None:
        """Bring it to the disk; later: `handle(Durable(seq))`."""

    def compact(self, to: LogIndex) -> None:
        """Behind the writes before: let the disk forget what a snapshot covers; later: `compacted(log_bytes)`."""

    def call(self, rpc_id: RpcId, envelope: Envelope) -> None:
        """Make the call; later, once: `call_ended(rpc_id, ...)`."""

    def answer(self, request_id: RequestId, envelope: Envelope | None) -> None:
        """Answer a received request; None: there will be no answer."""

    def apply(self, call: ApplyCall) -> None:
        """Call the application; later, once: `applied(call_id, ...)`."""

    def cut_application(self) -> None:
        """End its attachment; it will attach again, under another epoch."""

    def term_lost(self, news: exchange.TermLost) -> None:
        """Tell the application."""

    def proposal_ended(self, proposal_id: int, answer: exchange.ProposeAnswer) -> None:
        """Whoever proposed waits for this."""

    def read_ended(self, read_id: int, answer: exchange.ReadAnswer) -> None:
        """Whoever reads waits for this."""

    def change_ended(self, change_id: int, answer: ChangeStarted | ChangeRefused) -> None:
        """Whoever asked for a change of the membership waits for this."""

    def transfer_ended(self, answer: TransferEnded) -> None:
        """Whoever asked for another leader waits for this."""

    def others_changed(self, others: tuple[MemberId, ...]) -> None:
        """These are the other members in force from now on: nobody else is called of our own accord."""

    def timers_changed(self) -> None:
        """The election deadline came nearer, or the role is another one: the timer daemons look again."""
