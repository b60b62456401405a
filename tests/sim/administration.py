"""What a simulated peer's administrator hears: changes of the membership and transfers of leadership.

Here:   the part of the engine's `Ports` that ends them.
Never:  asking for them: no world does yet, so an answer is one that nobody asked for.
"""

from __future__ import annotations

from raft_actors.core.effects import ChangeRefused, ChangeStarted, TransferEnded
from tests.sim.checks import Violation

RULE = "answered is what was asked"


class Administration:
    """Nobody administers."""

    def change_ended(self, change_id: int, answer: ChangeStarted | ChangeRefused) -> None:
        raise Violation(RULE, f"change {change_id} was not asked for: {answer}")

    def transfer_ended(self, answer: TransferEnded) -> None:
        raise Violation(RULE, f"nobody asked for this: {answer}")
