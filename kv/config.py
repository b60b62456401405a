"""What a store can be started with, in one object.

Here:   `Config`: the knobs of Raft, the limits of the store and of its sessions, and their relation.
Never:  where members run and where their data lies (arguments of `kv.start`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kv.limits import Limits, encode_settings
from raft_actors.application import settings as application_settings
from raft_actors.application.settings import ApplicationSettings, SessionLimits
from raft_actors.config import RaftConfig
from raft_actors.errors import ConfigError

BATCH_FRAMING_BYTES = 4096
"""What a command costs on its way into the log beside its own bytes, rounded up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`kv.start(config=...)`. Raises `ConfigError` for numbers that make no sense together."""

    raft: RaftConfig = field(default_factory=RaftConfig)
    """Times and sizes of consensus."""
    limits: Limits = field(default_factory=Limits)
    """Sizes of keys, values and batches. Replicated: fixed when the store is created."""
    sessions: SessionLimits = field(default_factory=SessionLimits)
    """How much is remembered for exactly-once. Replicated: fixed when the store is created."""
    allow_unsafe_data_dir: bool = False
    """Accept tmpfs, network file systems and world-writable parents as a place for data."""

    def __post_init__(self) -> None:
        if self.limits.batch_bytes_max + BATCH_FRAMING_BYTES > self.raft.proposal_bytes_max:
            raise ConfigError(
                f"raft.proposal_bytes_max={self.raft.proposal_bytes_max} must be at least {BATCH_FRAMING_BYTES} above "
                f"limits.batch_bytes_max={self.limits.batch_bytes_max}, or the largest batch can never be proposed"
            )

    def settings(self) -> bytes:
        """The replicated part, as the genesis record holds it."""
        return application_settings.encode_settings(
            ApplicationSettings(sessions=self.sessions, machine=encode_settings(self.limits))
        )
