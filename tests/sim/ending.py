"""A fault's end, or its beginning: due by the clock or by the count of events, whichever comes first.

Here:   `Ending`, how long faults last.
Never:  when (moments.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FAULT_US: Final = (10_000, 100_000, 1_000_000, 4_000_000)
"""How long a fault lasts: up to one of these. Some are over before an election, some outlast several."""
FAULT_EVENTS: Final = (5, 20, 60, 200)
"""Or up to so many events."""


class Ending:
    """Something that happens once, by the clock or by the count of events."""

    __slots__ = ("_act", "_arguments", "is_over")

    def __init__(self, act: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self._act, self._arguments = act, arguments
        self.is_over = False

    def happen(self) -> None:
        """Now, unless it has happened."""
        if not self.is_over:
            self.is_over = True
            self._act(*self._arguments)
