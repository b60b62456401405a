"""No input makes the code under attack allocate much.

Here:   the peak of one call, against a limit; an address-space limit for a whole process.
Never:  what is called.
"""

from __future__ import annotations

import resource
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from tests.storage.campaigns.found import expect

T = TypeVar("T")

MEMORY_BYTES_MAX: Final = 64 * 1024 * 1024
"""What one case may allocate at most."""

ADDRESS_SPACE_BYTES: Final = 512 * 1024 * 1024
"""What a process of a campaign may map beyond what it has when it begins."""


def measured(call: Callable[[], T], measure: bool, *, limit: int = MEMORY_BYTES_MAX) -> T:
    """What `call` returns; if `measure`, its peak is taken, and more than `limit` bytes are a find.

    Within another measured call it is part of that one.
    """
    if not measure or tracemalloc.is_tracing():
        return call()
    tracemalloc.start()
    try:
        answer = call()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    expect(peak <= limit, "too much memory", f"{peak:,} bytes at a time, and {limit:,} are allowed")
    return answer


def limit_address_space() -> None:
    """From here on a large allocation of this process is a MemoryError, and so a find."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    allowed = pages * resource.getpagesize() + ADDRESS_SPACE_BYTES
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:  # once: a process may run many units
        resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
