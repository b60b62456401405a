"""How a running peer reaches others: two protocols, so that threads can be tested without Ray.

Here:   `Transport` to other peers, `ApplicationLink` to the co-located application.
Never:  Ray (transport.py), what is said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

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
    """Calls to one incarnation of the application."""

    def call(self, method: str, data: bytes, done: Done) -> None:
        """As `Transport.call`."""
        ...
