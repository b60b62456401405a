"""How much one application process holds at a time. Its own business: nothing here changes what is replicated.

Here:   `HostLimits`; `Ticket`.
Never:  limits that `apply` reads (settings.py).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, NewType

from raft_actors.application.packing import ITEMS_MAX
from raft_actors.errors import ConfigError

Ticket = NewType("Ticket", int)
"""Number that the shell gives to one waiting caller and never reuses. Each ends with exactly one answer."""

CHECKPOINT_INTERVAL: Final = 1_024
"""Members compare their state chains at each multiple of this index; a constant, as all must use the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLimits:
    """Bounds of one `ApplicationHost`. Raises `ConfigError` unless all are above 0."""

    proposal_bytes_max: int = 9 * 1024 * 1024
    """Largest batch for one log entry; not above the peer's `RaftConfig.proposal_bytes_max`, or it refuses it."""
    proposal_frames_max: int = 4_096
    """Commands in one log entry, so that applying one entry never holds up the event loop for long."""
    proposals_in_flight_max: int = 4
    """Proposals whose call to the peer is open. Commands that arrive meanwhile share the next one."""
    attempts_waiting_max: int = 20_000
    """Attempts and their duplicates that wait at a time; then `Overloaded`."""
    attempts_waiting_bytes_max: int = 64 * 1024 * 1024
    """Bytes of the commands that wait; then `Overloaded`. As much as a leader takes without a majority."""
    attempts_remembered_max: int = 65_536
    """Ended attempts whose late copies are recognised; some seconds of a fully loaded server."""
    reads_waiting_max: int = 10_000
    """Queries that wait for their index; then `Overloaded`."""
    recent_entries_max: int = 1_024
    """Entries applied last whose outcomes are kept for a proposal that is registered after it was applied."""
    recent_bytes_max: int = 4 * 1024 * 1024
    """Bytes of those outcomes."""
    checkpoints_max: int = 64
    """State chains kept for comparison: those of the last 65,536 entries."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value <= 0:
                raise ConfigError(f"{field.name}={value!r} must be a whole number above 0")
        if self.proposal_frames_max > ITEMS_MAX:
            raise ConfigError(
                f"proposal_frames_max={self.proposal_frames_max} must not be above {ITEMS_MAX}, or no member could "
                f"read the batch"
            )
