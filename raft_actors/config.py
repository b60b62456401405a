"""Every knob of a group's Raft, with its unit, its reason and its relations to the others.

Here:   `RaftConfig`, checked at birth.
Never:  environment variables and command lines (read where they are used), what is replicated (limits of sessions and
        values are set by the genesis record, DESIGN "everything `apply` reads is in the replicated state").
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from raft_actors.codec import FRAME_BYTES_MAX
from raft_actors.core.settings import CoreSettings
from raft_actors.errors import ConfigError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """How one group behaves. Every member and client of a group uses the same."""

    heartbeat_interval_ms: int = 120
    """Leader's longest silence towards a follower. Six members beating cost about 6 % of a core at this interval."""
    election_timeout_ms_min: int = 600
    """Shortest silence before an election; also how long a voter that heard its leader refuses pre-votes. At least
    four heartbeats, so that a few lost ones or a garbage collection elect nobody (Raft §9.3)."""
    election_timeout_ms_max: int = 1200
    """Longest silence before an election; the spread keeps candidates apart (Raft §5.2)."""
    check_quorum_ms: int = 1200
    """A leader that no majority answered for this long steps down (dissertation §6.2)."""
    rpc_deadline_ms: int = 1000
    """When an unanswered call between peers counts as failed. Its slot stays taken until Ray ends the call."""
    calls_in_flight_max: int = 6
    """Ray calls to one follower that may be open at a time; beyond it one probe a second goes out."""
    appends_in_flight_max: int = 3
    """AppendEntries with entries under way to one follower; more hides latency, less makes bigger batches."""
    append_bytes_max: int = 1 * MIB
    """Bytes of entries in one AppendEntries, so that a heartbeat never waits long behind one."""
    append_entries_max: int = 512
    """Entries in one AppendEntries."""
    apply_bytes_max: int = 4 * MIB
    """Bytes of entries in one call to the application."""
    proposal_bytes_max: int = 9 * MIB
    """Largest single proposal; above the store's largest batch (8 MiB) and its framing."""
    uncommitted_bytes_max: int = 64 * MIB
    """Bytes a leader takes that no majority holds yet; then `Overloaded` (Raft G12: unbounded without a quorum)."""
    reads_waiting_max: int = 10_000
    """Reads that may wait for confirmation at once."""
    snapshot_log_bytes: int = 64 * MIB
    """Size of the log files that snapshots keep them near: one is taken when half as much was written since the last,
    and the log begins at the one before it. Where the state is larger, its size counts instead."""
    snapshot_slice_bytes_max: int = 8 * MIB
    """Bytes of a state that travel in one call; two such slices are in memory while a snapshot is written."""
    log_bytes_max: int = 1024 * MIB
    """Size of the log files at which writes are refused with `LogFull`: no snapshot could be taken for long."""
    segment_bytes_max: int = 8 * MIB
    """Size at which a log file is closed and the next one begins. Only whole files are removed."""
    idle_mark_ms: int = 100
    """How long after the last write group its synced mark is written, if no next group carries it."""
    application_absent_ms_max: int = 2000
    """A leader whose application is away for longer steps down: it could commit, but answer nobody."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value <= 0:
                raise ConfigError(f"{field.name}={value!r} must be a whole number above 0")
        if self.heartbeat_interval_ms * 4 > self.election_timeout_ms_min:
            raise ConfigError(
                f"election_timeout_ms_min={self.election_timeout_ms_min} must be at least four times "
                f"heartbeat_interval_ms={self.heartbeat_interval_ms}, or a few lost heartbeats elect"
            )
        if self.election_timeout_ms_max < self.election_timeout_ms_min * 3 // 2:
            raise ConfigError(
                f"election_timeout_ms_max={self.election_timeout_ms_max} must be at least 1.5 times "
                f"election_timeout_ms_min={self.election_timeout_ms_min}, or candidates keep splitting the vote"
            )
        if self.check_quorum_ms < self.election_timeout_ms_min:
            raise ConfigError(
                f"check_quorum_ms={self.check_quorum_ms} must be at least election_timeout_ms_min="
                f"{self.election_timeout_ms_min}, or a leader gives up before anyone could replace it"
            )
        if self.appends_in_flight_max > self.calls_in_flight_max:
            raise ConfigError(
                f"appends_in_flight_max={self.appends_in_flight_max} must not be above "
                f"calls_in_flight_max={self.calls_in_flight_max}, or heartbeats find no free call"
            )
        if self.proposal_bytes_max > self.uncommitted_bytes_max:
            raise ConfigError(
                f"proposal_bytes_max={self.proposal_bytes_max} must not be above "
                f"uncommitted_bytes_max={self.uncommitted_bytes_max}, or the largest proposal is always refused"
            )
        if self.snapshot_log_bytes * 2 > self.log_bytes_max:
            raise ConfigError(
                f"log_bytes_max={self.log_bytes_max} must be at least twice snapshot_log_bytes="
                f"{self.snapshot_log_bytes}, or writes are refused before a snapshot could make the log smaller"
            )
        if self.snapshot_slice_bytes_max > FRAME_BYTES_MAX:
            raise ConfigError(
                f"snapshot_slice_bytes_max={self.snapshot_slice_bytes_max} must not be above {FRAME_BYTES_MAX}, the "
                f"largest message between peers"
            )
        if max(self.proposal_bytes_max, self.append_bytes_max) + MIB > FRAME_BYTES_MAX:
            raise ConfigError(
                f"proposal_bytes_max={self.proposal_bytes_max} and append_bytes_max={self.append_bytes_max} must stay "
                f"1 MiB below {FRAME_BYTES_MAX}, the largest message between peers"
            )

    @property
    def segment_bytes(self) -> int:
        """Size of a log file: `segment_bytes_max`, or less where snapshots shall keep the log small."""
        return min(self.segment_bytes_max, max(1, self.snapshot_log_bytes // 8))

    def core(self) -> CoreSettings:
        """The part that the core needs."""
        return CoreSettings(
            election_timeout_ms_min=self.election_timeout_ms_min,
            check_quorum_ms=self.check_quorum_ms,
            appends_in_flight_max=self.appends_in_flight_max,
            append_bytes_max=self.append_bytes_max,
            append_entries_max=self.append_entries_max,
            uncommitted_bytes_max=self.uncommitted_bytes_max,
            reads_waiting_max=self.reads_waiting_max,
        )

    def to_dict(self) -> dict[str, int]:
        """All knobs by name, for meta.json and for comparing two groups."""
        return asdict(self)
