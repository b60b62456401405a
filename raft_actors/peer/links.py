"""How a running peer reaches others: two protocols, so that threads can be tested without Ray.

Here:   `Transport` to other peers, `ApplicationLink` to the co-located application.
Never:  Ray (transport.py), sockets (door.py).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol, TypeAlias

from raft_actors.application import exchange
from raft_actors.core.types import MemberId

Done: TypeAlias = Callable[[bytes | None], None]
"""Called once, in any thread, with the answer's bytes, or None when there is none. Must only take note."""


class Lost(Enum):
    """Why a slice of a snapshot did not come."""

    LOST = "lost"
    """Its bytes, or the call: it may be asked for again."""
    GONE = "gone"
    """The snapshot is not there any more."""


Fetched: TypeAlias = tuple[bytes, memoryview] | Lost
"""A slice (slices.SLICE, encoded) and its bytes; or nothing."""


class Transport(Protocol):
    """Calls to other peers."""

    def call(self, to: MemberId, method: str, data: bytes, done: Done) -> None:
        """Begin the call and return at once. `done` is called when it ends, which may be never before `close`."""
        ...

    def fetch(self, to: MemberId, request: bytes, done: Callable[[Fetched], None]) -> None:
        """Ask for a slice of a peer's snapshot (slices.SLICE_REQUEST). As `call`: `done` at its end, in any thread."""
        ...

    def know(self, others: tuple[MemberId, ...]) -> None:
        """These are the other members now. Who is not among them is looked up only when called. Returns at once."""
        ...

    def close(self) -> None:
        """End the threads of the transport; calls under way end with None or not at all."""
        ...


class ApplicationLink(Protocol):
    """One attachment of the application. All of it is called by the apply command daemon, and none of it waits."""

    def attached(self, answer: exchange.Attached | exchange.Restore) -> None:
        """The attachment is in force, and this comes before everything else; or it is not, and why not."""
        ...

    def apply(self, request: exchange.Apply, done: Done) -> None:
        """Send committed entries. `done` is called once, with the answer or with None when the link is gone."""
        ...

    def term_lost(self, news: exchange.TermLost) -> None:
        """The peer no longer leads."""
        ...

    def ask_slice(self, asked: exchange.AskSlice) -> None:
        """Ask for the next bytes of the application's state."""
        ...

    def proposal_answered(self, number: int, answer: exchange.ProposeAnswer | None) -> None:
        """What became of the application's proposal; None: nobody knows."""
        ...

    def read_answered(self, number: int, answer: exchange.ReadAnswer | None) -> None:
        """From which index on a state is new enough; None: not confirmed in time."""
        ...

    def close(self) -> None:
        """End the attachment; the application will try again."""
        ...
