"""When the next election may begin: a timer with a version (Ruaft calls it its most difficult part).

Here:   the deadline, its generation and the jitter; no thread, no clock.
Never:  what a timeout means (core/election.py). The core ignores a generation that has passed, so a timer that fires
        while its restart is still on the way does no harm.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SOON_MS_MAX = 50
"""After a leader's restart was announced its followers campaign within this, apart from each other (contracts 13)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectionDeadline:
    """Fire `generation` at `at_ms`."""

    generation: int
    at_ms: int


class ElectionTimer:
    """Holds at most one deadline."""

    def __init__(self, dice: random.Random, *, timeout_ms_min: int, timeout_ms_max: int) -> None:
        self._dice = dice
        self._timeout_ms = (timeout_ms_min, timeout_ms_max)
        self._deadline: ElectionDeadline | None = None

    @property
    def deadline(self) -> ElectionDeadline | None:
        """The one running, or None."""
        return self._deadline

    def restart(self, generation: int, now_ms: int, *, soon: bool) -> None:
        """Draw a new timeout (Raft §5.2: "election timeouts are chosen randomly from a fixed interval")."""
        low, high = (0, SOON_MS_MAX) if soon else self._timeout_ms
        self._deadline = ElectionDeadline(generation=generation, at_ms=now_ms + self._dice.randint(low, high))

    def stop(self) -> None:
        """No deadline: leaders have none."""
        self._deadline = None

    def fire(self, now_ms: int) -> int | None:
        """The generation that is due, once; None before."""
        deadline = self._deadline
        if deadline is None or now_ms < deadline.at_ms:
            return None
        self._deadline = None
        return deadline.generation
