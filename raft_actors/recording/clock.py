"""The one clock of a run: nanoseconds since its start, the same in every process of the recording host.

Here:   `RunClock`, which travels in a pickle to whoever stamps rows.
Never:  what happens at which time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Names this boot of this machine, and so its monotonic clock; empty where the kernel does not tell."""
    try:
        return BOOT_ID_FILE.read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunClock:
    """Where a run's time begins, on both clocks of the recording host. `meta.json` holds the same three fields."""

    utc_start_ns: int
    """UTC at the start of the run, ns since 1970: the anchor that turns `t_*` into `time`."""
    monotonic_start_ns: int
    """The monotonic clock at the same moment, ns; only differences to it mean anything."""
    boot_id: str
    """Whose monotonic clock that is."""

    @classmethod
    def start(cls) -> RunClock:
        """A run that begins now, on this host."""
        return cls(utc_start_ns=time.time_ns(), monotonic_start_ns=time.monotonic_ns(), boot_id=boot_id())

    def now_ns(self) -> int:
        """Nanoseconds since the start of the run.

        Linux has one monotonic clock for all processes of a machine, so rows of the recording host are in order
        whoever stamps them. Another host has to go by UTC: its rows are off by the difference of the two wall clocks,
        and nothing may be concluded from an order that is closer than that.
        """
        if self.boot_id == boot_id():
            return time.monotonic_ns() - self.monotonic_start_ns
        return time.time_ns() - self.utc_start_ns
