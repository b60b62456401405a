"""What a peer may rely on from its disk, in prose and as a protocol.

Here:   `Storage`, `Recovered`, and the promises between them.
Never:  how the promises are kept (wal.py), who leads and why (core).

The promises (tests/storage/contract.py holds every implementation to them):

1. `open` locks the directory, recovers, makes the start counter durable, and leaves nothing of what it returns
   dependent on the page cache: whatever recovery kept after the last synced mark is written anew and synced first.
2. `write` is one write group: when it returns, its records and everything before are durable. After a crash a group is
   there as a whole or not at all. If it raises, nothing is promised any more and every later call raises too.
3. Recovery returns exactly what was written and synced, or a prefix of the groups that were not; or it raises
   `LogDamaged`. It never returns changed data, and it never drops a group that a synced mark says was synced.
4. `mark_synced` makes durable that the last group was synced. Calling it twice writes once.
5. `close` releases the lock and may be called again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from raft_actors.core.effects import HardState, Record
from raft_actors.core.entries import Entry, Genesis
from raft_actors.core.types import Incarnation, MemberId


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a data directory held when it was opened."""

    incarnation: Incarnation
    """The directory's id and this start's number, both durable."""
    genesis: Genesis | None
    """None: an empty directory, the peer is `uninitialised`."""
    hard_state: HardState
    entries: tuple[Entry, ...]
    """The whole log, consecutive from index 1."""
    torn_bytes: int
    """Bytes of an unacknowledged tail that were dropped; 0 after a clean end."""


class Storage(Protocol):
    """A durable log with term, vote and genesis in it. Used by one thread at a time."""

    @property
    def recovered(self) -> Recovered:
        """What `open` found; does not change with later writes."""
        ...

    @property
    def log_bytes(self) -> int:
        """Bytes of all log files now."""
        ...

    def write_genesis(self, genesis: Genesis) -> None:
        """Make the genesis durable, once per directory. A second, different one is an AssertionError."""
        ...

    def write(self, records: Sequence[Record]) -> None:
        """Make one write group durable. Raises `StorageFailed`; never returns before the sync did."""
        ...

    def mark_synced(self) -> None:
        """Make durable that the last group was synced, unless that is known already. Raises `StorageFailed`."""
        ...

    def close(self) -> None:
        """Mark, release the lock, close the files. Safe to call again."""
        ...


class OpenStorage(Protocol):
    """The persister that a group is started with: opens one member's storage, on its node (see `FileStorage.open`).

    Raises the storage errors of raft_actors/errors.py; `DirectoryLocked` and `StorageFailed` are tried again.
    """

    def __call__(
        self, path: str, *, group: str, member_id: MemberId, segment_bytes_max: int, allow_unsafe_data_dir: bool
    ) -> Storage: ...
