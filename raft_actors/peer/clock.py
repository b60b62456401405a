"""The one way to the time.

Here:   the `Clock` protocol and the monotonic clock of this machine.
Never:  wall time: nothing in a peer depends on it.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic milliseconds; only differences mean anything."""

    def now_ms(self) -> int:
        """Now."""
        ...


class MonotonicClock:
    """The machine's monotonic clock."""

    def now_ms(self) -> int:
        """Milliseconds since some fixed moment."""
        return time.monotonic_ns() // 1_000_000
