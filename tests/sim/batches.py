"""One call of a client as a server holds it: its answers so far, and the copies that a network has made of it.

Here:   `Batch`, `Copies`.
Never:  what is answered (server.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from raft_actors.application.host import ApplicationHost

Reply: TypeAlias = Callable[[bytes], object]


class Copies:
    """The copies of one call of a client that a network has made.

    Ray runs a call once, in one process, so no process can tell that an earlier one had a copy. A host can: it
    remembers the attempts that it had. So all copies that run do so in the memory of one host.
    """

    __slots__ = ("_host", "_ran")

    def __init__(self) -> None:
        self._ran = False
        self._host: ApplicationHost | None = None

    def may_run(self, host: ApplicationHost | None) -> bool:
        """Whether one more copy is looked at."""
        if not self._ran:
            self._ran, self._host = True, host
            return True
        return host is not None and host is self._host


class Batch:
    """One call of a client, and its answers so far."""

    __slots__ = ("answers", "commands", "deadline_ms", "fail", "missing", "reply")

    def __init__(
        self, size: int, deadline_ms: int, reply: Reply, fail: Callable[[], object], commands: tuple[bytes, ...] = ()
    ) -> None:
        self.answers: list[Any] = [None] * size
        self.missing = size
        self.deadline_ms = deadline_ms
        self.reply = reply
        self.fail = fail
        self.commands = commands
