"""What a peer says of itself: the state of its life and why, who it is, and, while it runs, how far it is.

Here:   `PeerState`, `Standing`, the rows that `describe` and `status` answer.
Never:  when a state is entered or left (peer.py), locks and threads.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from raft_actors.application.packing import TEXT_CHARS_MAX
from raft_actors.codec import encode_configuration, encode_genesis
from raft_actors.core import State
from raft_actors.core.entries import Genesis, SnapshotMeta
from raft_actors.core.types import DirectoryId, Incarnation
from raft_actors.peer.runtime import Runtime
from raft_actors.peer.surroundings import PeerOptions
from raft_actors.storage.records import Identity
from raft_actors.storage.snapshot_records import SnapshotHeader, encode_header


class PeerState(Enum):
    """What a peer is up to."""

    STARTING = "starting"
    UNINITIALISED = "uninitialised"
    RECOVERING = "recovering"
    """It runs, and the configuration that it has in force does not list its directory: it counts nowhere."""
    RUNNING = "running"
    FAILED = "failed"
    KILLED = "killed"


@dataclass(slots=True, kw_only=True)
class Standing:
    """Where one peer stands. Not thread-safe: the peer guards it with its own lock."""

    options: PeerOptions
    state: PeerState = PeerState.STARTING
    error: str | None = None
    """What it waits for, or why it failed."""
    genesis: Genesis | None = None
    """None: not read yet, or its directory belongs to no cluster."""
    incarnation: Incarnation | None = None
    """None: its directory was not opened yet."""
    unopened: DirectoryId | None = None
    """Of the directory that could not be opened. Who looks after the group has to know what stands in the way."""
    started_s: float = field(default_factory=time.monotonic)

    def describe(self, running: State | None) -> dict[str, Any]:
        """Who this is and what it holds: also the configuration that it has in force, and where that stands."""
        configurations = None if running is None else running.configurations
        return {
            **self._who(running),
            "genesis": encode_genesis(self.genesis) if self.genesis else None,
            "configuration": None if configurations is None else encode_configuration(configurations.in_force),
            "configuration_index": None if configurations is None else configurations.in_force_index,
        }

    def status(self, running: State | None) -> dict[str, Any]:
        """What `kv.status` shows of a peer in any state."""
        return {**self._who(running), "uptime_s": round(time.monotonic() - self.started_s, 1)}

    def snapshot_header(self, meta: SnapshotMeta) -> bytes | None:
        """The first record of the file of this member's snapshot. None: it does not belong to a cluster yet."""
        if self.genesis is None or self.incarnation is None:
            return None
        identity = Identity(
            directory_id=self.incarnation.directory_id, group=self.options.group, member_id=self.options.member_id
        )
        return encode_header(SnapshotHeader(identity=identity, genesis=self.genesis, meta=meta))[0]

    def why_not_running(self) -> str:
        """For the application, which asks again."""
        why = f": {self.error}" if self.error else ""
        return f"member {self.options.member_id} is {self.state.value}{why}"[:TEXT_CHARS_MAX]

    def _who(self, running: State | None) -> dict[str, Any]:
        return {
            "group": self.options.group,
            "member_id": self.options.member_id,
            "state": self._state_now(running).value,
            "error": self.error,
            "directory_id": self.incarnation.directory_id if self.incarnation else self.unopened,
            "start_count": self.incarnation.start_count if self.incarnation else 0,
        }

    def _state_now(self, running: State | None) -> PeerState:
        """The log may list this directory from one entry to the next, so that is looked at when asked."""
        if self.state is not PeerState.RUNNING or running is None:
            return self.state
        if running.configurations.in_force.find_directory(running.directory_id) is None:
            return PeerState.RECOVERING
        return self.state


def status_of_running(runtime: Runtime) -> dict[str, Any]:
    """What `kv.status` shows of a running peer besides.

    Scalars read without the owner: each is right, together they may be a moment apart.
    """
    state, feed, gauges = runtime.engine.state, runtime.engine.feed, runtime.gauges()
    snapshots = runtime.engine.snapshots
    return {
        "cluster": state.cluster_id.hex(),
        "role": state.role.value,
        "term": state.current_term,
        "leader": state.leader_hint,
        "voters": [voter.member_id for voter in state.configurations.in_force.voters()],
        "voter": state.configurations.in_force.is_voter(state.directory_id),
        "commit_index": state.commit_index,
        "last_index": state.log.last.index,
        "last_term": state.log.last.term,
        "last_applied": feed.applied_index,
        "log_bytes": runtime.engine.log_bytes,
        "snapshot_index": 0 if state.snapshot is None else state.snapshot.last.index,
        "snapshot": snapshots.progress(),
        "snapshot_error": snapshots.error,
        "application": feed.epoch is not None,
        "stall_ms_max": round(gauges.stall_ms_max, 1),
        "calls_open": gauges.calls_open,
        "reads_waiting": 0 if state.leading is None else len(state.leading.reads),
        "dropped": gauges.dropped,
    }
