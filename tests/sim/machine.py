"""The state machine of a simulated application, and the world hears of each command.

Here:   `WatchedMachine`, around whichever machine the world has.
Never:  the machines (kv/machine.py, tests/catalogue/ledger.py), the host around it (server.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from raft_actors.application.machine import create_machine

if TYPE_CHECKING:
    from tests.sim.member import Member


class WatchedMachine:
    """The world's machine; it remembers which entry first carried a command to it, and tells the checks."""

    def __init__(self, settings: bytes, member: Member) -> None:
        self.machine = create_machine(member.world.machine, settings)
        self.ran_at: dict[bytes, int] = {}
        self.query = self.machine.query
        self._member_id = member.member_id
        self._checks = member.world.checks

    def apply(self, index: int, command: bytes) -> bytes:
        self.ran_at.setdefault(command, index)
        result = self.machine.apply(index, command)
        self._checks.ran(self._member_id, self, index, command, result)
        return result

    def snapshot(self) -> Iterator[bytes]:
        return self.machine.snapshot()

    def restore(self, chunks: Iterator[memoryview]) -> None:
        self.machine.restore(chunks)
