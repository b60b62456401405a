"""What a peer is given when it is made: options that stay as they are, and the node around it.

Here:   `PeerOptions`, `Surroundings`.
Never:  who provides them (actor.py on a node of Ray), what a peer does with them (peer.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from raft_actors.config import RaftConfig
from raft_actors.core.types import DirectoryId, MemberId
from raft_actors.peer.links import Transport
from raft_actors.storage.interface import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerOptions:
    """What a peer is created with; the same on every restart."""

    group: str
    member_id: MemberId
    config: RaftConfig
    faults: bool = False
    """Whether a fault injector may come between this peer and the others."""


class Surroundings(Protocol):
    """What differs between a Ray actor and a test."""

    def open_storage(self) -> Storage:
        """Open this member's data directory; raises the errors of storage."""

    def peek(self) -> DirectoryId | None:
        """Which directory lies in this member's place, where it could not be opened; None: none that says so."""

    def open_transport(self, others: tuple[MemberId, ...], hello: bytes) -> Transport:
        """Reach the other members; each gets `hello` once, when it is first reached."""

    def stopped_reason(self) -> str | None:
        """What the STOPPED file says, if there is one."""

    def write_stopped(self, reason: str) -> None:
        """Leave a STOPPED file."""

    def clear_stopped(self) -> None:
        """Remove it."""

    def end_process(self, why: str) -> None:
        """End this process at once; it will be started again."""
