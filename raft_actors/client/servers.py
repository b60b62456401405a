"""What the sender needs of a group's servers, whoever they are.

Here:   the `Servers` protocol.
Never:  Ray (ray_servers.py), retries (engine.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from raft_actors.core.types import MemberId


class Servers(Protocol):
    """The application actors of one group. Nothing here raises, and nothing but `handles` blocks."""

    def members(self) -> tuple[MemberId, ...]:
        """Those known by now, ascending; empty while they are being looked up."""
        ...

    def look_again(self) -> None:
        """Somebody named a member who is not among them: look soon, and not more often than is good."""
        ...

    def begin(self, member_id: MemberId, method: str, data: bytes, done: Callable[[bytes | None], None]) -> bool:
        """Call `method` ("submit" or "query") with `data`.

        True: `done` is called with what it returned, or with None if that is not known, from any thread, at most
        once. False: it was certainly not called, and `done` never will be.
        """
        ...

    def handles(self, timeout_s: float) -> list[Any]:
        """What stands behind the members, in their order, for callers with their own ideas; waits to find them all.

        The one method that blocks, for at most `timeout_s` seconds; empty when no server was found.
        """
        ...

    def close(self) -> None:
        """End what was started for looking things up. Open calls are let go."""
        ...
