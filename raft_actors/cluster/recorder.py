"""Recording a group: one actor that writes the run, and what sends rows to it.

Here:   `RunRecorder` (the actor), `RemoteRecorder` (a `Recorder` in any process).
Never:  what a row means (raft_actors/recording/schema.py), files (recording/run_writer.py).
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

import ray
from ray.exceptions import RayError

from raft_actors.cluster.actors import members_with_actors
from raft_actors.cluster.nodes import pin_here
from raft_actors.core.types import MemberId
from raft_actors.names import NAMESPACE, peer_name, recorder_name
from raft_actors.recording.clock import RunClock
from raft_actors.recording.rows import encode_rows
from raft_actors.recording.run_writer import RunFacts, RunWriter, new_run_directory
from raft_actors.recording.schema import Row

COLLECT_INTERVAL_S: Final = 0.5
"""How often the members' events and gauges are fetched; what a killed member had not told by then is lost."""
SEND_INTERVAL_S: Final = 0.25
FLUSH_TIMEOUT_S: Final = 5.0
ROWS_WAITING_MAX: Final = 50_000
"""Rows that one process holds for the recorder; more are dropped and counted."""


class RunRecorder:
    """Writes the run of one group: rows that clients send, events and gauges that it fetches from the members."""

    def __init__(self, group: str, members: int, record_dir: str, config: dict[str, Any]) -> None:
        root = Path(os.path.expandvars(os.path.expanduser(record_dir))).absolute()
        facts = RunFacts(
            cluster_size=members,
            nodes=tuple(sorted({row["NodeManagerAddress"] for row in ray.nodes() if row["Alive"]})),
            fsync="fdatasync per write group",
            config=config,
            versions={"ray": ray.__version__, "python": platform.python_version()},
        )
        self._group = group
        self._writer = RunWriter(new_run_directory(root, group), facts)
        self._seen: dict[MemberId, tuple[int, int]] = {}
        """Per member: the process and the number of its newest event here."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._collect_for_ever, name="collect", daemon=True)
        self._thread.start()

    def clock(self) -> RunClock:
        """What rows are stamped with."""
        return self._writer.clock

    def directory(self) -> str:
        """Where the run lies, on this actor's node."""
        return str(self._writer.directory)

    def append(self, frame: str, rows: bytes) -> None:
        """A batch of encoded rows from a client."""
        self._writer.append_encoded(frame, rows)

    def close(self) -> str:
        """Fetch what the members still have, complete the run, say where it lies."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join(10.0)
            with contextlib.suppress(RayError):
                self._collect()
        self._writer.close()
        return self.directory()

    def _collect_for_ever(self) -> None:
        while not self._stop.wait(COLLECT_INTERVAL_S):
            with contextlib.suppress(RayError):
                self._collect()

    def _collect(self) -> None:
        asked = {}
        for member_id in members_with_actors(self._group):
            with contextlib.suppress(ValueError, RayError):
                peer = ray.get_actor(peer_name(self._group, member_id), namespace=NAMESPACE)
                asked[member_id] = (peer.events.remote(*self._seen.get(member_id, (0, 0))), peer.status.remote())
        refs = [ref for pair in asked.values() for ref in pair]
        if refs:
            ray.wait(refs, num_returns=len(refs), timeout=1.0)
        for member_id, (events, status) in asked.items():
            with contextlib.suppress(RayError):
                for event in ray.get(events, timeout=0.01):
                    self._record_event(member_id, event)
                self._record_sample(member_id, ray.get(status, timeout=0.01))

    def _record_event(self, member_id: MemberId, event: dict[str, Any]) -> None:
        process, number = self._seen.get(member_id, (0, 0))
        if event["process"] == process and event["number"] <= number:
            return
        self._seen[member_id] = (event["process"], event["number"])
        clock = self._writer.clock
        if event["boot_id"] == clock.boot_id:
            time_ns = event["monotonic_ns"] - clock.monotonic_start_ns
        else:  # another machine: its wall clock is all that both share
            time_ns = event["wall_ns"] - clock.utc_start_ns
        details = event["details"]
        self._writer.record(
            "events", {"time": time_ns, "member": event["member"], "kind": event["kind"], "details": details}
        )
        if event["kind"] == "role" and details.get("role") == "leader":
            self._writer.record(
                "events",
                {"time": time_ns, "member": event["member"], "kind": "leader", "details": {"term": details["term"]}},
            )

    def _record_sample(self, member_id: MemberId, status: dict[str, Any]) -> None:
        row: Row = {"time": self._writer.now_ns(), "member": int(member_id)}
        if "log_bytes" in status:
            row["log_bytes"] = status["log_bytes"]
            row["lag_entries"] = max(0, status["commit_index"] - status["last_applied"])
            row["in_flight"] = status["calls_open"]
            row["longest_stall_ms"] = status["stall_ms_max"]
        row["rss_bytes"] = status["rss_bytes"]
        self._writer.record("samples", row)


class RemoteRecorder:
    """A `Recorder` whose rows travel to the recorder actor in batches. Neither blocks nor raises."""

    def __init__(self, group: str, actor: Any, clock: RunClock) -> None:
        self.group = group
        self._actor = actor
        self._clock = clock
        self._rows: dict[str, list[Row]] = defaultdict(list)
        self._count = 0
        self.dropped = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send_for_ever, name="record", daemon=True)
        self._thread.start()
        _HERE.add(self)

    @property
    def closed(self) -> bool:
        """Whether its run is complete."""
        return self._stop.is_set()

    @property
    def enabled(self) -> bool:
        """Always True."""
        return True

    def now_ns(self) -> int:
        """Nanoseconds since the start of the run."""
        return self._clock.now_ns()

    def record(self, frame: str, row: Row) -> None:
        """Take one row."""
        with self._lock:
            if self._count >= ROWS_WAITING_MAX:
                self.dropped += 1
                return
            self._rows[frame].append(row)
            self._count += 1

    def flush(self) -> None:
        """Send what waits, and return when the recorder has it (or does not answer)."""
        with contextlib.suppress(RayError):
            ray.get(self._send(), timeout=FLUSH_TIMEOUT_S)

    def close(self) -> None:
        """Send what waits, and end the thread."""
        self._stop.set()
        self._thread.join(2.0)
        self.flush()

    def _send_for_ever(self) -> None:
        while not self._stop.wait(SEND_INTERVAL_S):
            self._send()

    def _send(self) -> list[Any]:
        with self._lock:
            batches, self._rows, self._count = self._rows, defaultdict(list), 0
        refs = []
        for frame, rows in batches.items():
            with contextlib.suppress(RayError):
                refs.append(self._actor.append.remote(frame, encode_rows(rows)))
        return refs


_HERE: WeakSet[RemoteRecorder] = WeakSet()
"""The recorders of this process: who completes a run sends its own rows first."""


def recorder_options(group: str) -> dict[str, Any]:
    """Options of the recorder actor, each with its reason."""
    return {
        "name": recorder_name(group),
        "namespace": NAMESPACE,
        "lifetime": "detached",  # a run goes on when its driver ends
        "max_restarts": 0,  # a second life would be another run
        "max_concurrency": 4,
        "num_cpus": 0,
    }


def start_recorder(group: str, members: int, record_dir: str, config: dict[str, Any]) -> Any:
    """The group's recorder, on this driver's node, where its user looks for the run."""
    actor_class = ray.remote(RunRecorder).options(**recorder_options(group), **pin_here())
    try:
        return actor_class.remote(group, members, record_dir, config)
    except ValueError:
        return ray.get_actor(recorder_name(group), namespace=NAMESPACE)


def find_recorder(group: str) -> RemoteRecorder | None:
    """This process's way to the group's recorder, if it has one; the same for all its clients."""
    known = next((recorder for recorder in list(_HERE) if recorder.group == group and not recorder.closed), None)
    if known is not None:
        return known
    try:
        actor = ray.get_actor(recorder_name(group), namespace=NAMESPACE)
        return RemoteRecorder(group, actor, ray.get(actor.clock.remote(), timeout=10.0))
    except (ValueError, RayError):
        return None


def stop_recorder(group: str, timeout_s: float = 15.0) -> str | None:
    """Complete the run and end its actor; where it lies, or None when nothing was recorded."""
    try:
        actor = ray.get_actor(recorder_name(group), namespace=NAMESPACE)
    except ValueError:
        return None
    for recorder in list(_HERE):
        if recorder.group == group:
            recorder.close()
    try:
        directory: str = ray.get(actor.close.remote(), timeout=timeout_s)
    finally:
        ray.kill(actor, no_restart=True)
    return directory
