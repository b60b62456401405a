"""A large state on its way from one node to another, beside the store's service; and the time that a restart takes.

Here:   `run_transfer`: a member that was away is sent a snapshot, against a plain actor that fetches the same bytes.
        `run_restart`: from `kv.start` to the first answer.
Never:  tables (figures.py), the command line (bench.py).

The plain actor is timed twice in each round: while the store has nothing to do, and beside the same puts as the
member's fetch, which shows how much of the difference is the cores that the puts take.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final
from zlib import crc32

import numpy
import psutil
import ray

import kv
from kv.app.bench_load import Outstanding, Puts
from kv.app.bench_nodes import ray_of_nodes
from kv.app.figures import Figure
from kv.app.members import NotInTime, Watch, wait_until_whole
from kv.app.surroundings import fresh_directory, fresh_store
from raft_actors.codec import CHUNK_BYTES_MAX
from raft_actors.config import MIB, RaftConfig
from raft_actors.core.types import MemberId
from raft_actors.names import NAMESPACE, peer_name

RACKS: Final = ("near", "far")
PLACES: Final = [{"rack": "near"}, {"rack": "near"}, {"rack": "far"}]
STORE_BYTES: Final = 256 * MIB
"""Of each node's object store: a few slices, far less than the state."""
VALUE_BYTES: Final = 16 * 1024
ROUNDS: Final = 3
VALUES_BETWEEN: Final = 4096
"""64 MiB: more than calls bring that a member which stands still has not looked at."""
OUTSTANDING: Final = 64
PUTS_PER_S: Final = 100
PUT_S_MAX: Final = 1.0
SAVE_TIMEOUT_S: Final = 600.0
TRANSFER_TIMEOUT_S: Final = 180.0
WHOLE_S: Final = 120.0
SHARE_MIN: Final = 0.5
RESTART_S_MAX: Final = 15.0
BATCH: Final = 10_000

CONFIG: Final = kv.Config(raft=RaftConfig(log_bytes_max=4096 * MIB))


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What came of one transfer."""

    figures: list[Figure]
    elections: int


def missing(gib: float) -> str | None:
    """What the machine lacks for a state of so many GiB; None: nothing."""
    memory, disk = psutil.virtual_memory().available, shutil.disk_usage("/var/tmp").free
    needs_memory, needs_disk = gib * 6 * 2**30, gib * 16 * 2**30
    if memory < needs_memory:
        return f"it needs {needs_memory / 2**30:.0f} GiB of memory, and {memory / 2**30:.1f} GiB are free"
    if disk < needs_disk:
        return f"it needs {needs_disk / 2**30:.0f} GiB of disk, and {disk / 2**30:.1f} GiB are free"
    return None


def run_transfer(gib: float, progress: Callable[[str], None]) -> Transfer:
    """Load so many GiB, then, several times, have a member stand still until only a snapshot helps it, and see it catch
    up. Raises `NotInTime`."""
    directory = fresh_directory("transfer")
    try:
        with (
            ray_of_nodes(RACKS, STORE_BYTES),
            kv.start("transfer", data_dir=str(directory / "data"), config=CONFIG, placement=PLACES) as store,
        ):
            try:
                return _transfers(store, gib, directory, progress)
            finally:
                kv.shutdown("transfer")
    finally:
        shutil.rmtree(directory)


def _transfers(store: kv.Client, gib: float, directory: Path, progress: Callable[[str], None]) -> Transfer:
    _load(store, "block", round(gib * 2**30 / VALUE_BYTES), progress)
    rounds = []
    with Watch(store.group) as watch:
        before = wait_until_whole(watch, len(PLACES), WHOLE_S)
        for _ in range(ROUNDS):
            rounds.append(_round(store, watch, gib, directory, progress))
        after = wait_until_whole(watch, len(PLACES), WHOLE_S)
    elections = max(member.term for member in after.members) - max(member.term for member in before.members)
    of = f"median of {ROUNDS}"
    plain = "the same bytes fetched, checked and written by a plain actor"
    figures = [
        Figure(name="state", value=rounds[-1].size_bytes / MIB, unit="MiB"),
        Figure(
            name=f"from the offer to a durable state, {of}",
            value=median(each.bytes_per_s for each in rounds) / MIB,
            unit="MiB/s",
        ),
        Figure(name=f"{plain}, {of}", value=median(each.plain_bytes_per_s for each in rounds) / MIB, unit="MiB/s"),
        Figure(
            name=f"{plain} beside the same puts, {of}",
            value=median(each.plain_beside_bytes_per_s for each in rounds) / MIB,
            unit="MiB/s",
        ),
        Figure(
            name=f"share of the plain actor's speed, {of}",
            value=median(each.bytes_per_s / each.plain_bytes_per_s for each in rounds),
            at_least=SHARE_MIN,
        ),
        Figure(
            name=f"share of its speed beside the same puts, {of}",
            value=median(each.bytes_per_s / each.plain_beside_bytes_per_s for each in rounds),
        ),
        Figure(
            name=f"slowest put of {sum(each.put_count for each in rounds):,} at {PUTS_PER_S}/s",
            value=max(each.slowest_put_s for each in rounds),
            unit="s",
            at_most=PUT_S_MAX,
        ),
        Figure(name="puts that failed", value=sum(each.puts_failed for each in rounds), at_most=0),
        Figure(name="new leaders", value=elections, at_most=0),
    ]
    return Transfer(figures=figures, elections=elections)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """One transfer, and those of the plain actor before it."""

    size_bytes: int
    bytes_per_s: float
    plain_bytes_per_s: float
    plain_beside_bytes_per_s: float
    put_count: int
    slowest_put_s: float
    puts_failed: int


def _round(store: kv.Client, watch: Watch, gib: float, directory: Path, progress: Callable[[str], None]) -> _Round:
    plain = plain_bytes_per_s(gib, directory)
    with _puts(store):
        beside = plain_bytes_per_s(gib, directory)
    progress(f"a plain actor: {plain / MIB:,.0f} MiB/s, beside the puts {beside / MIB:,.0f} MiB/s")
    status = wait_until_whole(watch, len(PLACES), WHOLE_S)
    leads = status.members[status.leader or 0]
    laggard = next(member for member in status.members if PLACES[member.id] != PLACES[leads.id])
    stopped = [psutil.Process(pid) for pid in (laggard.pid, laggard.server_pid) if pid is not None]
    for process in stopped:
        process.suspend()
    try:
        _save_all_but(store, laggard.id, progress)
    finally:
        for process in stopped:
            process.resume()
    progress("the member goes on; the transfer begins")
    with _puts(store) as puts:
        event = _fetched(store, laggard.id, laggard.last_applied or 0, TRANSFER_TIMEOUT_S)
        progress(f"fetched {event['bytes'] / MIB:,.0f} MiB in {event['ms'] / 1000:.1f} s; its application restores")
        watch.wait_for(
            lambda status: (status.members[laggard.id].last_applied or 0) >= event["index"],
            "the member's application in step",
            TRANSFER_TIMEOUT_S,
        )
    return _Round(
        size_bytes=event["bytes"],
        bytes_per_s=event["bytes"] / (event["ms"] / 1000),
        plain_bytes_per_s=plain,
        plain_beside_bytes_per_s=beside,
        put_count=len(puts.acknowledged),
        slowest_put_s=puts.slowest_s,
        puts_failed=puts.failed,
    )


def _puts(store: kv.Client) -> Puts:
    return Puts(store, PUTS_PER_S, lambda number: f"beside/{number % 1000}")


def _load(store: kv.Client, prefix: str, count: int, progress: Callable[[str], None]) -> None:
    puts = Outstanding(store, OUTSTANDING, timeout_s=60)
    block = os.urandom(VALUE_BYTES - 8)
    for number in range(count):
        puts.put(f"{prefix}/{number:08}", number.to_bytes(8) + block)
        if number % 8192 == 0:
            progress(f"{number:,} of {count:,} values of 16 KiB")
    puts.drain()
    if puts.failures:
        raise NotInTime(f"loading failed: {dict(puts.failures)}; give the machine more time")


def _save_all_but(store: kv.Client, laggard: int, progress: Callable[[str], None]) -> None:
    """Twice, with a write between: the log then begins behind everything that the laggard has, or will find in its
    sockets when it goes on, which is a little of what is written first."""
    _load(store, "between", VALUES_BETWEEN, progress)
    for _ in range(2):
        store.put("between", time.time(), timeout_s=30)
        peers = [_peer(store, at) for at in range(len(PLACES)) if at != laggard]
        ray.get([peer.save_snapshot.remote(SAVE_TIMEOUT_S) for peer in peers])
        progress("the others have taken a snapshot")


def _peer(store: kv.Client, member: int) -> Any:
    return ray.get_actor(peer_name(store.group, MemberId(member)), namespace=NAMESPACE)


def _fetched(store: kv.Client, laggard: int, behind: int, timeout_s: float) -> dict[str, Any]:
    """The laggard's own note of the snapshot that it was sent, of an index behind this one."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        for event in ray.get(_peer(store, laggard).events.remote(0, 0)):
            found: dict[str, Any] = event["details"]
            if event["kind"] == "snapshot" and found["how"] == "fetched" and found["index"] > behind:
                return found
        time.sleep(0.2)
    raise NotInTime(f"no snapshot was fetched within {timeout_s:.0f} s; give the machine more time")


# -- a plain actor -----------------------------------------------------------------------------------------------------


class Source:
    """Has the bytes, and puts a slice into the object store when it is asked for."""

    def slice(self, size: int) -> list[Any]:
        return [ray.put(numpy.frombuffer(os.urandom(MIB) * (size // MIB), numpy.uint8))]


class Sink:
    """Fetches slices, sums them, and writes them to a file that is synced each 4 MiB."""

    def fetch(self, source: Any, count: int, size: int, path: str) -> float:
        began_s = time.monotonic()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            following = source.slice.remote(size)
            for number in range(count):
                (reference,) = ray.get(following)
                if number + 1 < count:
                    following = source.slice.remote(size)
                data = memoryview(ray.get(reference))
                for at in range(0, size, CHUNK_BYTES_MAX):
                    piece = data[at : at + CHUNK_BYTES_MAX]
                    crc32(piece)
                    os.write(descriptor, piece)
                    os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        return time.monotonic() - began_s


SOURCE: Final[Any] = ray.remote(num_cpus=0)(Source)
SINK: Final[Any] = ray.remote(num_cpus=0)(Sink)


def plain_bytes_per_s(gib: float, directory: Path) -> float:
    """Of a plain actor that does the same, from one node to the other."""
    size = CONFIG.raft.snapshot_slice_bytes_max
    count = max(1, round(gib * 2**30 / size))
    source: Any = SOURCE.options(label_selector={"rack": RACKS[0]}).remote()
    sink: Any = SINK.options(label_selector={"rack": RACKS[1]}).remote()
    path = directory / "plain"
    try:
        seconds: float = ray.get(sink.fetch.remote(source, count, size, str(path)), timeout=TRANSFER_TIMEOUT_S)
        return count * size / seconds
    finally:
        path.unlink(missing_ok=True)
        for actor in (source, sink):
            ray.kill(actor)


# -- restart -----------------------------------------------------------------------------------------------------------


def run_restart(keys: int, progress: Callable[[str], None]) -> list[Figure]:
    """So many keys, a log as long as it gets, all processes ended; then from `kv.start` to the first answer."""
    with fresh_store("restart", config=kv.Config(raft=replace(CONFIG.raft))) as store:
        for first in range(0, keys, BATCH):
            store.put_many({f"key/{at:09}": "x" * 100 for at in range(first, min(first + BATCH, keys))}, timeout_s=60)
        progress(f"{keys:,} keys; filling the log")
        puts = Outstanding(store, 4 * OUTSTANDING, timeout_s=60)
        number = 0
        while (
            log_bytes := max(member.log_bytes or 0 for member in kv.status(store.group).members)
        ) < CONFIG.raft.snapshot_log_bytes * 3 // 4:
            for _ in range(10_000):
                number += 1
                puts.put(f"key/{number % keys:09}", "y" * 100)
        puts.drain()
        name = store.group
        kv.shutdown(name)
        progress(f"shut down with a log of {log_bytes / MIB:.0f} MiB; starting again")
        began_s = time.monotonic()
        with kv.start(name, start_timeout_s=120) as again:
            again.get("key/000000001", timeout_s=120)
            seconds = time.monotonic() - began_s
    return [
        Figure(name="log at the restart", value=log_bytes / MIB, unit="MiB"),
        Figure(name=f"restart with {keys:,} keys: first answer", value=seconds, unit="s", at_most=RESTART_S_MAX),
    ]
