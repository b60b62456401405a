"""What a peer may rely on from its disk, in prose and as a protocol.

Here:   `Storage`, `Recovered`, the two ends of a snapshot, and the promises between them.
Never:  how the promises are kept (wal.py), who leads and why (core).

The promises (tests/storage/contract.py holds every implementation to them):

1. `open` locks the directory, recovers, makes the start counter durable, and leaves nothing of what it returns
   dependent on the page cache: whatever recovery kept after the last synced mark is written anew and synced first.
2. `write` is one write group: when it returns, its records and everything before are durable. After a crash a group is
   there as a whole or not at all. If it raises, nothing is promised any more and every later call raises too.
   It raises, too, if the directory was taken away meanwhile: a start would not find it (files only).
3. Recovery returns exactly what was written and synced, or a prefix of the groups that were not; or it raises
   `LogDamaged`. It never returns changed data, and it never drops a group that a synced mark says was synced.
   It joins the log to the newest good snapshot, as ADR 10 says: a log that ends below it, or differs there, is reset.
4. `mark_synced` makes durable that the last group was synced. Calling it twice writes once.
5. When `SnapshotWriter.commit` returned the snapshot is durable and whole; before, and when it raised, it is not there
   or whole. `compact` forgets nothing but what a durable snapshot covers.
6. `close` releases the lock and may be called again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from raft_actors.core.effects import HardState, Record
from raft_actors.core.entries import Entry, Genesis, SnapshotMeta
from raft_actors.core.types import EntryId, Incarnation, LogIndex, MemberId


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a data directory held when it was opened."""

    incarnation: Incarnation
    """The directory's id and this start's number, both durable."""
    genesis: Genesis | None
    """None: an empty directory, the peer is `uninitialised`."""
    hard_state: HardState
    base: EntryId
    """The entry before the first one in `entries`: the genesis, or one that `snapshot` covers."""
    entries: tuple[Entry, ...]
    """The log, consecutive from `base` on."""
    snapshot: SnapshotMeta | None
    """The newest snapshot that is whole. The log holds its last entry, or begins there."""
    torn_bytes: int
    """Bytes of an unacknowledged tail that were dropped; 0 after a clean end."""
    damaged_snapshots: tuple[str, ...]
    """What is wrong with newer snapshots, a sentence for each; the log was enough without them."""


class SnapshotSink(Protocol):
    """A snapshot that is being written."""

    def write(self, chunk: bytes | memoryview) -> None:
        """The next bytes of the state, 1 to 4 MiB. Raises `SnapshotFailed`."""
        ...

    def commit(self) -> None:
        """Make it durable and the newest one. Raises `SnapshotFailed`."""
        ...

    def abandon(self) -> None:
        """Leave nothing behind. Safe to call again, and after everything else."""
        ...


class SnapshotSource(Protocol):
    """A snapshot that is being read; later ones do not disturb it."""

    @property
    def meta(self) -> SnapshotMeta:
        """What it stands for."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """The state, in the pieces in which it was written. Raises `SnapshotDamaged`, or OSError from the disk."""
        ...

    def close(self) -> None:
        """Once, when nobody reads any more."""
        ...


class Storage(Protocol):
    """A durable log with term, vote and genesis in it, and snapshots beside it.

    Used by one thread at a time, but for snapshots: one other thread may write them, and any read them.
    """

    @property
    def recovered(self) -> Recovered:
        """What `open` found; does not change with later writes. A compaction lets its entries go."""
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

    def begin_snapshot(self, meta: SnapshotMeta) -> SnapshotSink:
        """Begin a snapshot newer than all others, in any thread, one at a time. Raises `SnapshotFailed`."""
        ...

    def open_snapshot(self, index: LogIndex) -> SnapshotSource:
        """Read the snapshot of this index, in any thread. Raises `SnapshotDamaged`; when it is gone, `SnapshotGone`.

        And what opening a directory raises for a file that is not ours to read, or OSError from the disk.
        """
        ...

    def compact(self, to: LogIndex) -> None:
        """Forget entries up to and with `to`, the index of a durable snapshot, and the snapshots before that one.

        Raises `StorageFailed` only where a failure before had stopped the storage.
        """
        ...

    def close(self) -> None:
        """Abandon a snapshot under way, mark, release the lock, close the files. Safe to call again."""
        ...


class OpenStorage(Protocol):
    """The persister that a group is started with: opens one member's storage, on its node (see `FileStorage.open`).

    Raises the storage errors of raft_actors/errors.py; `DirectoryLocked` and `StorageFailed` are tried again.
    """

    def __call__(
        self, path: str, *, group: str, member_id: MemberId, segment_bytes_max: int, allow_unsafe_data_dir: bool
    ) -> Storage: ...
