"""What a snapshot costs those who use the store meanwhile, and whether that grows with the state.

Here:   `run_pause`: snapshots of the leader, then of all members at once; gets at a fixed rate beside them.
Never:  tables (figures.py), the command line (bench.py).

A longest stall is the worst moment of a minute or so, and a machine that others use has such moments without us, more
of them the longer one looks: loops of members that take no snapshot stall as long. So only the loops of those who take
one are looked at, the others for comparison; and the leader takes several, of which the median counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container
from concurrent.futures import Future
from dataclasses import dataclass
from statistics import median
from typing import Final

import psutil
import ray

import kv
from kv.app.bench_load import Paced
from kv.app.figures import Figure
from kv.app.members import Watch, wait_until_whole
from raft_actors.config import MIB, RaftConfig
from raft_actors.core.types import MemberId
from raft_actors.gauges import KEPT_S
from raft_actors.names import NAMESPACE, peer_name

BATCH: Final = 10_000
VALUE: Final = "x" * 100
GETS_PER_S: Final = 500
BASELINE_S: Final = 10.0
ROUNDS: Final = 5
"""Snapshots of the leader."""
SAVE_TIMEOUT_S: Final = 900.0
WHOLE_S: Final = 120.0
QUIET_MS: Final = 20.0
"""A gauge below this has forgotten what loading did to it."""
STALL_MS_MAX: Final = 50.0
GROWTH_MAX: Final = 1.2
BYTES_PER_KEY: Final = 2_500
"""What three members, their logs' entries in memory among it, take for a key, generously."""

CONFIG: Final = kv.Config(
    raft=RaftConfig(snapshot_log_bytes=16 * 1024 * MIB, log_bytes_max=64 * 1024 * MIB, segment_bytes_max=64 * MIB)
)
"""No snapshot is taken but those that the bench asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """What came of one number of keys."""

    keys: int
    figures: list[Figure]
    stall_ms: float
    """Longest stall of the leader's loops while it took a snapshot; the median of several."""


def missing_memory(keys: int) -> str | None:
    """What the machine lacks for so many keys; None: nothing."""
    needed, there = keys * BYTES_PER_KEY, psutil.virtual_memory().available
    if there >= needed:
        return None
    return f"{keys:,} keys need about {needed / 2**30:.1f} GiB of memory, and {there / 2**30:.1f} GiB are free"


def run_pause(store: kv.Client, keys: int, progress: Callable[[str], None]) -> Pause:
    """Load so many keys, then have members take snapshots while others read."""
    began_s = time.monotonic()
    for first in range(0, keys, BATCH):
        store.put_many({f"key/{number:09}": VALUE for number in range(first, min(first + BATCH, keys))}, timeout_s=60)
        if first % (BATCH * 20) == 0:
            progress(f"{first:,} of {keys:,} keys loaded, {time.monotonic() - began_s:.0f} s")
    with Watch(store.group) as watch:
        wait_until_whole(watch, 3, WHOLE_S)
        progress(f"{keys:,} keys loaded; waiting for a quiet minute")
        watch.wait_for(lambda status: longest_stall_ms(status) < QUIET_MS, "quiet loops", 4 * KEPT_S)
        with Gets(store, keys) as gets:
            time.sleep(BASELINE_S)
            before_ms, stalls_before_ms = gets.take_longest_gap_ms(), longest_stall_ms(watch.latest)
            progress(f"longest gap between answers without a snapshot: {before_ms:.0f} ms; the leader takes {ROUNDS}")
            alone = []
            for _ in range(ROUNDS):
                alone.append(_take(store, watch, gets, [watch.latest.leader or 0]))
                progress(
                    f"taken in {alone[-1].taken_s:.0f} s, stall {alone[-1].stall_ms:.1f} ms, of the others "
                    f"{alone[-1].others_ms:.1f} ms; waiting for quiet"
                )
                watch.wait_for(lambda status: longest_stall_ms(status) < QUIET_MS, "quiet loops", 4 * KEPT_S)
            progress("all three take one at once")
            together = _take(store, watch, gets, [0, 1, 2])
    label = f"{keys:,} keys"
    figures = [
        Figure(name=f"{label}, before: longest stall of a loop", value=stalls_before_ms, unit="ms"),
        Figure(name=f"{label}, before: longest gap between answers, {GETS_PER_S} gets/s", value=before_ms, unit="ms"),
        *_figures(f"{label}, the leader's snapshot", alone, at_most=STALL_MS_MAX),
        *_figures(f"{label}, three at once", [together], at_most=None),
    ]
    return Pause(keys=keys, figures=figures, stall_ms=median(each.stall_ms for each in alone))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    taken_s: float
    stall_ms: float
    """Of the loops of those who took it."""
    others_ms: float
    """Of the other members' loops meanwhile."""
    gap_ms: float


def _figures(label: str, taken: list[_Taken], *, at_most: float | None) -> list[Figure]:
    of = f", median of {len(taken)}" if len(taken) > 1 else ""
    stall_ms = median(each.stall_ms for each in taken)
    figures = [
        Figure(name=f"{label}: time{of}", value=median(each.taken_s for each in taken), unit="s"),
        Figure(name=f"{label}: longest stall of a loop{of}", value=stall_ms, unit="ms", at_most=at_most),
        Figure(
            name=f"{label}: longest gap between answers{of}", value=median(each.gap_ms for each in taken), unit="ms"
        ),
    ]
    if len(taken) > 1:
        others_ms = median(each.others_ms for each in taken)
        figures.append(Figure(name=f"{label}: longest stall of the others' loops{of}", value=others_ms, unit="ms"))
        worst_ms = max(each.stall_ms for each in taken)
        figures.append(Figure(name=f"{label}: longest stall of a loop, the worst", value=worst_ms, unit="ms"))
    return figures


def _take(store: kv.Client, watch: Watch, gets: Gets, members: list[int]) -> _Taken:
    """Have these members take a snapshot, all at once, of something new."""
    store.put("pause", time.time())
    gets.take_longest_gap_ms()
    began_s, stall_ms, others_ms = time.monotonic(), 0.0, 0.0
    others = [member.id for member in watch.latest.members if member.id not in members]
    peers = [ray.get_actor(peer_name(store.group, MemberId(at)), namespace=NAMESPACE) for at in members]
    pending = saving = [peer.save_snapshot.remote(SAVE_TIMEOUT_S) for peer in peers]
    while pending:
        _, pending = ray.wait(pending, num_returns=len(pending), timeout=1.0)
        stall_ms = max(stall_ms, longest_stall_ms(watch.latest, members))
        others_ms = max(others_ms, longest_stall_ms(watch.latest, others))
    ray.get(saving)
    taken_s, status = time.monotonic() - began_s, kv.status(store.group)
    return _Taken(
        taken_s=taken_s,
        stall_ms=max(stall_ms, longest_stall_ms(status, members)),
        others_ms=max(others_ms, longest_stall_ms(status, others)),
        gap_ms=gets.take_longest_gap_ms(),
    )


def growth(small: Pause, large: Pause) -> Figure:
    """Whether the pause grows with the state."""
    return Figure(
        name=f"stall with {large.keys:,} keys against {small.keys:,}",
        value=large.stall_ms / small.stall_ms if small.stall_ms else None,
        unit="times",
        at_most=GROWTH_MAX,
    )


def longest_stall_ms(status: kv.Status, members: Container[int] | None = None) -> float:
    """Of the peers' and servers' loops of these members, or of all, lately."""
    return max(
        (
            stall or 0.0
            for member in status.members
            for stall in (member.stall_ms_max, member.server_stall_ms_max)
            if members is None or member.id in members
        ),
        default=0.0,
    )


class Gets(Paced):
    """Gets at a fixed rate, whether or not the ones before are answered; the longest time without an answer."""

    def __init__(self, store: kv.Client, keys: int) -> None:
        super().__init__(self._get, GETS_PER_S)
        self._store = store
        self._keys = keys
        self._lock = threading.Lock()
        self._answered_s = time.monotonic()
        self._gap_s = 0.0
        self._failures: list[BaseException] = []

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self._failures:
            raise self._failures[0]

    def take_longest_gap_ms(self) -> float:
        """Since the last time it was taken; the one that still lasts, too."""
        with self._lock:
            gap_s, self._gap_s = max(self._gap_s, time.monotonic() - self._answered_s), 0.0
        return gap_s * 1000

    def _get(self, number: int) -> None:
        key = f"key/{number * 7919 % self._keys:09}"  # all over the keys
        self._store.submit_get(key, timeout_s=30).add_done_callback(self._answered)

    def _answered(self, get: Future[object]) -> None:
        failure = get.exception()
        with self._lock:
            if failure is not None:
                self._failures.append(failure)
                return
            now_s = time.monotonic()
            self._gap_s = max(self._gap_s, now_s - self._answered_s)
            self._answered_s = now_s
