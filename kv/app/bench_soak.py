"""Whether the group keeps its leader while nothing fails: idle, or with as much to do as it can take.

Here:   `run_soak`, `Soak`.
Never:  tables (figures.py); running it a second time (bench.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import psutil

import kv
from kv.app.bench_load import Outstanding
from kv.app.figures import Figure
from kv.app.members import Watch, is_healthy
from raft_actors.config import MIB, RaftConfig

Load: TypeAlias = Literal["idle", "full"]

OUTSTANDING: Final = 256
VALUE: Final = "x" * 100
KEYS: Final = 10_000
PUT_TIMEOUT_S: Final = 30.0
HEALTHY_S: Final = 60.0
LOOK_S: Final = 1.0
PROGRESS_S: Final = 10.0
MEMBERS: Final = 3

CONFIG: Final = kv.Config(raft=RaftConfig(log_bytes_max=16 * 1024 * MIB))
"""Without compaction the log only grows, some 200 bytes a put: room for a quarter of an hour of the fastest machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """What came of one run."""

    figures: list[Figure]
    elections: int
    """Terms that began meanwhile; 0 means that the leader stayed."""
    stall_ms_max: float
    """Longest stall of any member's loop."""

    @property
    def is_starved(self) -> bool:
        """Whether a member stood still for so long that its silence had to look like death: the machine's doing."""
        return self.stall_ms_max > CONFIG.raft.election_timeout_ms_min


def run_soak(store: kv.Client, load: Load, minutes: float, progress: Callable[[str], None]) -> Soak:
    """Watch for so long, under that load. Raises `NotInTime` when the group is not whole at its start."""
    puts, stop = Outstanding(store, OUTSTANDING, timeout_s=PUT_TIMEOUT_S), threading.Event()
    with Watch(store.group) as watch:
        before = watch.wait_for(lambda status: is_healthy(status, MEMBERS), "all members healthy", HEALTHY_S)
        loader = threading.Thread(target=_put_until, args=(puts, stop), name="soak", daemon=True)
        began_s = told_s = time.monotonic()
        if load == "full":
            loader.start()
        stall_ms, after, pause = 0.0, before, threading.Event()
        rss_bytes = [_rss_bytes(before)]
        while (now_s := time.monotonic()) < began_s + minutes * 60:
            after = watch.latest
            stall_ms = max(stall_ms, *(member.stall_ms_max or 0.0 for member in after.members))
            if now_s - told_s >= PROGRESS_S:
                told_s = now_s
                progress(f"{now_s - began_s:.0f} s: {_terms(before, after)} elections, {puts.ok:,} puts, longest stall "
                         f"{stall_ms:.0f} ms, log {_log_bytes(after) / MIB:,.0f} MiB")
            pause.wait(LOOK_S)
        rss_bytes.append(_rss_bytes(after))
        seconds = time.monotonic() - began_s
        stop.set()
        if load == "full":
            loader.join()
            puts.drain()
        after = kv.status(store.group)
    elections = _terms(before, after)
    return Soak(
        figures=_figures(load, seconds, elections, stall_ms, puts)
        + _sizes(before, after, rss_bytes),
        elections=elections,
        stall_ms_max=stall_ms,
    )
