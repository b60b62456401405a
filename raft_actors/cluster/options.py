"""What a group is started with; the keeper carries it, so that it can create members at any time.

Here:   `GroupOptions`, and how two of them differ.
Never:  where members run now (placement.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from raft_actors._version import __version__
from raft_actors.application.machine import MachineSource
from raft_actors.config import RaftConfig
from raft_actors.errors import ConfigError
from raft_actors.storage.interface import OpenStorage

MEMBERS_MAX: Final = 15
"""More voters make every write slower and protect against nothing that happens."""
MEMBERS_DEFAULT: Final = 3
REPLACE_AFTER_S_MIN: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOptions:
    """Everything about a group that is not in its data."""

    group: str
    members: int
    config: RaftConfig
    data_dir: str | None
    """Root of the data directories, expanded on each node (`~`, `$VARIABLES`); None: the default."""
    placement: tuple[Mapping[str, str], ...] | None
    """One label selector for each member; None: spread over the nodes, pinned by address."""
    allow_unsafe_data_dir: bool
    machine: MachineSource
    """Makes the state machine from its settings."""
    application: type[Any]
    """Plain class of the application actor (raft_actors.application.actor.ApplicationActor or a subclass)."""
    settings: bytes
    """Core's `Genesis.settings` of a new group."""
    open_storage: OpenStorage
    """The persister: opens a member's directory (raft_actors.storage)."""
    record_dir: str | None
    replace_after_s: float | None = None
    """How long a voter may be silent before another directory takes its place unasked; None: for ever."""
    faults: bool = False
    """Whether a fault injector may come between its parts."""
    version: str = __version__

    def __post_init__(self) -> None:
        if type(self.members) is not int or not 1 <= self.members <= MEMBERS_MAX:
            raise ConfigError(f"members={self.members!r} must be a whole number from 1 to {MEMBERS_MAX}")
        if self.data_dir is not None and not self.data_dir.startswith(("/", "~", "$")):
            raise ConfigError(
                f"data_dir={self.data_dir!r} means another place on each node: begin it with /, ~ or a $VARIABLE"
            )
        if self.replace_after_s is not None and not self.replace_after_s >= REPLACE_AFTER_S_MIN:
            raise ConfigError(
                f"replace_after_s={self.replace_after_s!r} must be at least {REPLACE_AFTER_S_MIN:g} seconds, or a "
                "member that is only being restarted loses its place"
            )
        if self.placement is not None and len(self.placement) != self.members:
            raise ConfigError(
                f"placement has {len(self.placement)} label selectors, but the group has {self.members} members: "
                "give one for each"
            )

    def public(self) -> dict[str, Any]:
        """What can be compared and shown: no code."""
        return {
            "members": self.members,
            "config": self.config.to_dict(),
            "data_dir": self.data_dir,
            "placement": [dict(labels) for labels in self.placement] if self.placement is not None else None,
            "allow_unsafe_data_dir": self.allow_unsafe_data_dir,
            "record_dir": self.record_dir,
            "replace_after_s": self.replace_after_s,
            "faults": self.faults,
            "settings": self.settings.hex(),
            "version": self.version,
        }


def differences(given: Mapping[str, Any], running: Mapping[str, Any]) -> list[str]:
    """One line for each explicitly given option that is another one in the running group."""
    lines: list[str] = []
    for name, value in given.items():
        if name == "config":
            lines.extend(
                f"config.{knob}: given {value[knob]!r}, running {running['config'].get(knob)!r}"
                for knob in sorted(value)
                if value[knob] != running["config"].get(knob)
            )
        elif value != running[name]:
            lines.append(f"{name}: given {value!r}, running {running[name]!r}")
    return lines
