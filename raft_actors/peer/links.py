"""How a running peer reaches others: two protocols, so that threads can be tested without Ray.

Here:   `Transport` to other peers, `ApplicationLink` to the co-located application.
Never:  Ray (transport.py), sockets (door.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from raft_actors.application import exchange
from raft_actors.core.types import MemberId

Done: TypeAlias = Callable[[bytes | None], None]
"""Called once, in any thread, with the answer's bytes, or None when there is none. Must only take note."""


class Transport(Protocol):
    """Calls to other peers."""

    def call(self, to: MemberId, method: str, data: bytes, done: Done) -> None:
        """Begin the call and return at once. `done` is called when it ends, which may be never before `close`."""
        ...

    def close(self) -> None:
        """End the threads of the transport; calls under way end with None or not at all."""
        ...


class ApplicationLink(Protocol):
    """One attachment of the application. All of it is called by the apply command daemon, and none of it waits."""

    def attached(self, answer: exchange.Attached) -> None:
        """The attachment is in force; comes before everything else."""
        ...

    def apply(self, request: exchange.Apply, done: Done) -> None:
        """Send committed entries. `done` is called once, with the answer or with None when the link is gone."""
        ...

    def term_lost(self, news: exchange.TermLost) -> None:
        """The peer no longer leads."""
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
