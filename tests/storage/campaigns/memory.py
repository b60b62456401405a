"""No input makes the code under attack allocate much.

Here:   the peak of one call, against a limit; an address-space limit for a whole process.
Never:  what is called.
"""

from __future__ import annotations

import resource
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final, TypeVar

from tests.storage.campaigns.found import expect

T = TypeVar("T")

MEMORY_BYTES_MAX: Final = 64 * 1024 * 1024
"""What one case may allocate at most."""

ADDRESS_SPACE_BYTES: Final = 512 * 1024 * 1024
"""What a process of a campaign may map beyond what it has when it begins."""


@contextmanager
def tracing() -> Iterator[None]:
    """Many calls are going to be measured: tracemalloc stays on. Each of its starts leaves a kilobyte or more behind in
    CPython (3.11), and thousands of them ran into the limit of the address space below."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def measured(call: Callable[[], T], measure: bool, *, limit: int = MEMORY_BYTES_MAX) -> T:
    """What `call` returns; if `measure`, its peak is taken, and more than `limit` bytes are a find."""
    if not measure:
        return call()
    with nullcontext() if tracemalloc.is_tracing() else tracing():
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        answer = call()
        peak = tracemalloc.get_traced_memory()[1] - before
    expect(peak <= limit, "too much memory", f"{peak:,} bytes at a time, and {limit:,} are allowed")
    return answer


def limit_address_space() -> None:
    """From here on a large allocation of this process is a MemoryError, and so a find."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    allowed = pages * resource.getpagesize() + ADDRESS_SPACE_BYTES
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:  # once: a process may run many units
        resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
