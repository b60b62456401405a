"""How much one client holds, and how long it is patient.

Here:   `ClientLimits`.
Never:  limits that servers keep (application/limits.py) or that are replicated (application/settings.py).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from raft_actors.application.packing import ITEMS_MAX
from raft_actors.errors import ConfigError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """Bounds of one `Caller`. Raises `ConfigError` unless all are above 0."""

    commands_max: int = 8_192
    """Commands without an outcome, and how far sequences may run ahead; not above `SessionLimits.results_max`."""
    queries_max: int = 8_192
    """Queries without an outcome."""
    waiting_bytes_max: int = 64 * MIB
    """Bytes of all commands and queries without an outcome, as much as a leader takes without a majority."""
    attempt_ms: int = 400
    """How long an attempt may be silent before all servers are asked; doubled with each round, three times at most.
    Ray hides a death for 1.3 to 1.9 s, so that a silent call says nothing by itself."""
    call_ms: int = 2_000
    """How long a server may hold a call. It holds a whole batch for its slowest attempt, and with it one of the few
    calls in flight."""
    calls_in_flight_max: int = 2
    """Calls of one kind that may be open at one server. What arrives meanwhile shares the next one."""
    calls_overdue_max: int = 32
    """When all are overdue, one probe a second goes out, up to this many: a stopped server must not eat memory."""
    probe_ms: int = 1_000
    """Time between such probes."""
    batch_count_max: int = 1_024
    """Attempts or queries in one call."""
    batch_bytes_max: int = MIB
    """Bytes in one call, except that a single larger command goes alone."""
    scouts_max: int = 16
    """Operations that look for the leader while none is known; the others follow once they have found it."""
    ask_all_max: int = 64
    """Operations of one silent call that all servers are asked about at once. The rest follow once a leader is known:
    thousands of attempts at followers would only hold up the election."""
    backoff_ms_min: int = 20
    """Pause after the first refusal."""
    backoff_ms_max: int = 160
    """Longest pause, a small part of an election."""
    suspicion_ms: int = 1_000
    """How long a hint to a silent server is not followed: its followers name it until they have elected another."""
    session_idle_ms: int = 1_800_000
    """A session unused for half an hour is replaced before the group drops it after an hour."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value <= 0:
                raise ConfigError(f"{field.name}={value!r} must be a whole number above 0")
        if self.batch_count_max > ITEMS_MAX:
            raise ConfigError(
                f"batch_count_max={self.batch_count_max} must not be above {ITEMS_MAX}, or no server could read it"
            )
