"""Whether the group keeps its leader, and its logs and processes their size, while nothing fails: idle, or with as
much to do as it can take.

Here:   `run_soak`, `Soak`.
Never:  tables (figures.py); running it a second time (bench.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from statistics import linear_regression
from typing import Final, Literal, TypeAlias

import psutil

import kv
from kv.app.bench_load import Outstanding
from kv.app.figures import Figure
from kv.app.members import Watch, wait_until_whole
from raft_actors.config import MIB

Load: TypeAlias = Literal["idle", "full"]

OUTSTANDING: Final = 256
VALUE: Final = "x" * 100
KEYS: Final = 10_000
PUT_TIMEOUT_S: Final = 30.0
WHOLE_S: Final = 60.0
LOOK_S: Final = 1.0
PROGRESS_S: Final = 10.0
MEMBERS: Final = 3

CONFIG: Final = kv.Config()
LOG_MIB_MAX: Final = (2 * CONFIG.raft.snapshot_log_bytes + CONFIG.raft.proposal_bytes_max) / MIB
"""Twice the size that snapshots keep a log near, and one batch."""
SETTLING_S: Final = 600.0
"""Before this, caches fill: what a process takes then says nothing about what it takes for ever."""
SLOPE_MB_MAX: Final = 5.0
"""An hour, per process; only a soak of an hour can tell."""
SLOPE_MINUTES_MIN: Final = 60.0


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
    with Watch(store.group) as watch, ThreadPoolExecutor(1, thread_name_prefix="soak") as threads:
        before = wait_until_whole(watch, MEMBERS, WHOLE_S)
        rss_before = rss_bytes(before)
        began_s = told_s = time.monotonic()
        loader = threads.submit(_put_until, stop, puts) if load == "full" else None
        stall_ms, log_mib = 0.0, 0.0
        memory: dict[int, list[tuple[float, float]]] = {}
        try:
            while (now_s := time.monotonic()) < began_s + minutes * 60 and not stop.wait(LOOK_S):
                stall_ms = max(stall_ms, *(member.stall_ms_max or 0.0 for member in watch.latest.members))
                log_mib = max(log_mib, log_bytes(watch.latest) / MIB)
                if now_s - began_s >= min(SETTLING_S, minutes * 10):
                    for pid, rss in rss_by_process(watch.latest).items():
                        memory.setdefault(pid, []).append((now_s - began_s, rss))
                if loader is not None and loader.done():
                    loader.result()
                if now_s - told_s >= PROGRESS_S:
                    told_s = now_s
                    progress(
                        f"{now_s - began_s:4.0f} s   {elections(before, watch.latest)} elections   {puts.ok:,} puts   "
                        f"longest stall {stall_ms:.0f} ms   log {log_bytes(watch.latest) / MIB:,.0f} MiB"
                    )
            seconds, put_count = time.monotonic() - began_s, puts.ok
            after = watch.latest
        finally:
            stop.set()
        if loader is not None:
            loader.result()
            puts.drain()
        figures = [
            Figure(name=f"elections in {seconds / 60:.1f} min, {load}", value=elections(before, after), at_most=0),
            Figure(name="longest stall of a member's loop", value=stall_ms, unit="ms"),
            *([Figure(name="puts", value=put_count / seconds, unit="/s")] if load == "full" else []),
            *(Figure(name=f"puts ended as {name}", value=count) for name, count in sorted(puts.failures.items())),
            Figure(name="log of the largest member, at its largest", value=log_mib, unit="MiB", at_most=LOG_MIB_MAX),
            Figure(name="memory of the members, at the start", value=rss_before / MIB, unit="MiB"),
            Figure(name="memory of the members, at the end", value=rss_bytes(after) / MIB, unit="MiB"),
            Figure(
                name="fastest growth of a process, least squares",
                value=max(map(slope_mb_per_hour, memory.values()), default=None),
                unit="MB/h",
                at_most=SLOPE_MB_MAX if minutes >= SLOPE_MINUTES_MIN else None,
            ),
        ]
    return Soak(figures=figures, elections=elections(before, after), stall_ms_max=stall_ms)


def _put_until(stop: threading.Event, puts: Outstanding) -> None:
    for number in count():
        if stop.is_set():
            return
        puts.put(f"soak/{number % KEYS}", VALUE)


def elections(before: kv.Status, after: kv.Status) -> int:
    """Terms that began between the two: pre-vote keeps a mere attempt from counting (dissertation §9.6)."""
    return max(member.term for member in after.members) - max(member.term for member in before.members)


def log_bytes(status: kv.Status) -> int:
    """Size of the largest member's log files."""
    return max(member.log_bytes or 0 for member in status.members)


def rss_by_process(status: kv.Status) -> dict[int, int]:
    """Resident memory of each peer and server by its pid, as far as they run on this machine."""
    found = {}
    for pid in [pid for member in status.members for pid in (member.pid, member.server_pid) if pid is not None]:
        with suppress(psutil.NoSuchProcess):
            found[pid] = psutil.Process(pid).memory_info().rss
    return found


def rss_bytes(status: kv.Status) -> int:
    """Of all of them together."""
    return sum(rss_by_process(status).values())


def slope_mb_per_hour(samples: list[tuple[float, float]]) -> float:
    """Of (second, bytes) samples, by least squares; 0 of fewer than two."""
    if len(samples) < 2:
        return 0.0
    seconds, sizes = zip(*samples, strict=True)
    return linear_regression(seconds, sizes).slope * 3600 / 1e6
