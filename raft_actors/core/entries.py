"""What a log holds: entries and their payloads, the genesis before the first of them, and what a snapshot stands for.

Here:   `Entry`, the three payloads, the configuration as data, `Genesis`, `SnapshotMeta`.
Never:  which configuration is in force (configuration.py), bytes on a disk (raft_actors/codec.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from raft_actors.core.types import VACANT, DirectoryId, EntryId, LogIndex, MemberId, Term

ENTRY_OVERHEAD_BYTES: Final = 64
"""What one entry costs beside its payload, on the wire and on the disk, rounded up; only used to cap and to count."""

MEMBER_BYTES: Final = 32
"""What one member of a configuration entry costs, rounded up."""


COUNT_MAX: Final = 2**62
"""Highest index and stamp that are taken from outside: what is counted on from there still fits its eight bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Bytes for the state machine; the core never looks inside. One entry may carry a whole batch."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Noop:
    """First entry of a new term, so that older entries can be committed (Raft §5.4.2, §8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One line of a configuration: a place, the directory that serves it, and whether it counts.

    A place may be vacant: it belongs to the group and waits for a directory, and nobody is asked or counted there.
    """

    member_id: MemberId
    directory_id: DirectoryId
    voter: bool

    @property
    def vacant(self) -> bool:
        """Whether no directory serves it."""
        return self.directory_id == VACANT


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Who belongs to the group, from the entry that carries it on (dissertation §4.1). Sorted by member id."""

    members: tuple[Member, ...]
    _voters: tuple[Member, ...] = field(init=False, repr=False, compare=False)
    _voting: frozenset[DirectoryId] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = [member.member_id for member in self.members]
        served = [member.directory_id for member in self.members if not member.vacant]
        if ids != sorted(set(ids)):
            raise ValueError(f"members must be sorted by id, each once, got {ids}")
        if len(set(served)) != len(served):
            raise ValueError("two members of a configuration name the same data directory")
        if any(member.vacant and member.voter for member in self.members):
            raise ValueError("a vacant place cannot be a voter")
        voters = tuple(member for member in self.members if member.voter)
        object.__setattr__(self, "_voters", voters)  # asked for with every message, so it is kept
        object.__setattr__(self, "_voting", frozenset(member.directory_id for member in voters))

    def voters(self) -> tuple[Member, ...]:
        """The members whose answers count."""
        return self._voters

    def is_voter(self, directory_id: DirectoryId) -> bool:
        """Whether answers from this directory count."""
        return directory_id in self._voting

    def find(self, member_id: MemberId) -> Member | None:
        """The line of this member, or None when it is not listed."""
        return next((member for member in self.members if member.member_id == member_id), None)

    def find_directory(self, directory_id: DirectoryId) -> Member | None:
        """The line of this directory, or None when it is not listed."""
        return next((member for member in self.served() if member.directory_id == directory_id), None)

    def served(self) -> tuple[Member, ...]:
        """The members that have a directory."""
        return tuple(member for member in self.members if not member.vacant)


Payload: TypeAlias = Command | Noop | Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the log (Raft §5.3)."""

    id: EntryId
    payload: Payload
    stamp_ms: int
    """Log-carried time: never falls along a log, follows the leaders' monotonic clocks, is no wall time."""

    @property
    def index(self) -> LogIndex:
        """Shorthand for `id.index`."""
        return self.id.index

    @property
    def term(self) -> Term:
        """Shorthand for `id.term`."""
        return self.id.term

    @property
    def size_bytes(self) -> int:
        """What the entry counts against byte limits: its payload and a fixed overhead."""
        match self.payload:
            case Command(data=data):
                return ENTRY_OVERHEAD_BYTES + len(data)
            case Configuration(members=members):
                return ENTRY_OVERHEAD_BYTES + MEMBER_BYTES * len(members)
            case Noop():
                return ENTRY_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """The record every member of a group starts from; it stands at index 0 of every log.

    It is computed from what all members said (`reference` rule: the same directories give the same record), never
    drawn, so two starters cannot make two clusters of one set of directories.
    """

    cluster_id: bytes
    """16 bytes: hash of the group's name, its first members and the settings."""
    group: str
    configuration: Configuration
    settings: bytes
    """What the state machine was created with (limits, machine version); opaque to Raft, replicated like an entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotMeta:
    """What a snapshot stands for: all entries up to and with `last` (Raft §7, Fig. 13; dissertation §5.1).

    The state itself is the application's. All of it was committed when the snapshot was taken.
    """

    last: EntryId
    """lastIncludedTerm and lastIncludedIndex of the paper; the index is above 0."""
    stamp_ms: int
    """Log-carried time of that entry."""
    configuration_id: EntryId
    """The newest configuration entry that is covered; the genesis when there was none."""
    configuration: Configuration
    """What that entry says: in force at `last`."""

    def __post_init__(self) -> None:
        if not 0 <= self.configuration_id.index <= self.last.index or self.last.index == 0:
            raise ValueError(f"a snapshot up to {self.last} with the configuration of {self.configuration_id}")
