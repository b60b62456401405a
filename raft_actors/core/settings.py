"""The few numbers that the core's rules need. Where they come from is config.py's business.

Here:   `CoreSettings`.
Never:  anything that two members of a group may set differently *and* that changes what is replicated.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """Limits and times of the rules; the reasons stand in raft_actors/config.py."""

    election_timeout_ms_min: int = 600
    check_quorum_ms: int = 1200
    appends_in_flight_max: int = 3
    append_bytes_max: int = 1024 * 1024
    append_entries_max: int = 512
    uncommitted_bytes_max: int = 64 * 1024 * 1024
    reads_waiting_max: int = 10_000
    promotion_lag_max: int = 512
    """Entries that a non-voter may be behind the commit index when it is made a voter: about one AppendEntries."""
