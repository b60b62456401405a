"""What a process measures of itself.

Here:   `StallGauge`.
Never:  who shows it.
"""

from __future__ import annotations

import time
from typing import Final

KEPT_S: Final = 60.0
"""The longest stall is kept this long, then measured anew."""


class StallGauge:
    """The longest time, lately, that a loop did not come round when it should have. For one thread, read by any.

    It tells a starved machine, or work that holds up everybody, from a fault.
    """

    def __init__(self) -> None:
        self.ms_max = 0.0
        self._since_s = self._looked_s = time.monotonic()

    def look(self, slept_s: float) -> None:
        """The loop comes round; it meant to sleep so long since the last time."""
        now_s = time.monotonic()
        if now_s - self._since_s > KEPT_S:
            self._since_s, self.ms_max = now_s, 0.0
        self.ms_max = max(self.ms_max, (now_s - self._looked_s - slept_s) * 1000)
        self._looked_s = now_s
