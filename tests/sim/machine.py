"""The state machine of a simulated application: the product's own, and the world hears of each command.

Here:   `WatchedMachine`.
Never:  the host around it (server.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kv.limits import decode_settings as decode_limits
from kv.machine import KVMachine

if TYPE_CHECKING:
    from tests.sim.member import Member


class WatchedMachine(KVMachine):
    """The product's machine; it remembers which entry first carried a command to it, and tells the checks."""

    def __init__(self, settings: bytes, member: Member) -> None:
        super().__init__(decode_limits(settings))
        self.ran_at: dict[bytes, int] = {}
        self._member_id = member.member_id
        self._checks = member.world.checks

    def apply(self, index: int, command: bytes) -> bytes:
        self.ran_at.setdefault(command, index)
        result = KVMachine.apply(self, index, command)
        self._checks.ran(self._member_id, self, index, command, result)
        return result
