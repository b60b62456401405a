"""What an application is created with: the part of the genesis record that Raft does not read.

Here:   `SessionLimits`, `ApplicationSettings`, their bytes.
Never:  a knob of one server. Everything here decides what `apply` does, so it is replicated and equal on all members.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from raft_actors.application.packing import Codec
from raft_actors.errors import ConfigError

SETTINGS_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """How much is remembered so that a command happens once. Raises `ConfigError` unless all are above 0."""

    results_max: int = 8_192
    """Results kept for one session, and so how far a client may run ahead of what it has acknowledged."""
    sessions_max: int = 100_000
    """Sessions at a time; beyond it those unused for longest are dropped."""
    idle_ms_max: int = 3_600_000
    """An hour of log-carried time without a command ends a session."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value <= 0:
                raise ConfigError(f"{field.name}={value!r} must be a whole number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationSettings:
    """What core's `Genesis.settings` holds."""

    sessions: SessionLimits
    machine: bytes
    """For the machine's factory: its own limits and version; empty for a plain class."""


_SETTINGS: Final[Codec[ApplicationSettings]] = Codec(ApplicationSettings, version=SETTINGS_VERSION)


def encode_settings(settings: ApplicationSettings) -> bytes:
    """The bytes of core's `Genesis.settings`; equal settings give equal bytes."""
    return _SETTINGS.encode(settings)


def decode_settings(data: bytes) -> ApplicationSettings:
    """The reverse. Raises `Malformed`, also for another version: such an application must not attach; and `ConfigError`
    for a limit of nothing."""
    return _SETTINGS.decode(data)
