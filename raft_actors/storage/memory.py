"""The verified fake: a storage without a disk, for tests and simulated worlds.

Here:   `MemoryDisk`, which outlives a crash, and `MemoryStorage`, which does not; its snapshots.
Never:  bytes and torn writes; those are shown by the files themselves on a faulty file system (tests/storage).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from raft_actors.codec import CHUNK_BYTES_MAX
from raft_actors.core.effects import Append, Record, Reset, Truncate
from raft_actors.core.entries import Genesis, SnapshotMeta
from raft_actors.core.types import DIRECTORY_ID_BYTES, DirectoryId, Incarnation, LogIndex, MemberId
from raft_actors.errors import DirectoryLocked, ForeignDirectory, SnapshotFailed, SnapshotGone, StorageFailed
from raft_actors.storage.image import ImpossibleRecord, LogImage, LogRecord
from raft_actors.storage.interface import Recovered


@dataclass(frozen=True, slots=True)
class MemorySnapshot:
    """A snapshot that is durable; what reads it, too."""

    meta: SnapshotMeta
    pieces: tuple[bytes, ...]

    def chunks(self) -> Iterator[bytes]:
        """As the protocol says."""
        return iter(self.pieces)

    def close(self) -> None:
        """Nothing to do."""


@dataclass(slots=True)
class MemoryDisk:
    """What a crash leaves: the groups whose `write` returned. Drawn ids are the caller's, who has the dice."""

    directory_id: DirectoryId
    owner: tuple[str, MemberId] | None = None
    """Group and member of the first open."""
    start_count: int = 0
    compacted: LogImage = field(default_factory=LogImage)
    """What all groups before `groups` add up to, without what compaction forgot."""
    groups: list[tuple[LogRecord, ...]] = field(default_factory=list)
    snapshots: dict[LogIndex, MemorySnapshot] = field(default_factory=dict)
    """Those that are durable, rising."""
    holder: MemoryStorage | None = None
    """Who has it open."""
    broken: bool = False
    """Set by a test: writes fail from now on."""

    def __post_init__(self) -> None:
        assert len(self.directory_id) == DIRECTORY_ID_BYTES, f"directory id of {len(self.directory_id)} bytes"


class MemoryStorage:
    """`Storage` on a `MemoryDisk`."""

    def __init__(self, disk: MemoryDisk) -> None:
        """Take over a disk that nobody holds; use `open`."""
        self.disk = disk
        self._image = self._read()
        self._closed = False
        self._failure: str | None = None
        self._writer: MemorySnapshotSink | None = None
        newest = max(disk.snapshots.values(), key=lambda each: each.meta.last.index, default=None)
        snapshot = None if newest is None else newest.meta
        reset = self._image.reset_to(snapshot)
        if reset is not None:
            self._image.apply(reset)
            disk.groups.append((reset,))
        self._log_bytes = self._entry_bytes()
        disk.start_count += 1
        disk.holder = self
        self._recovered = Recovered(
            incarnation=Incarnation(directory_id=disk.directory_id, start_count=disk.start_count),
            genesis=self._image.genesis,
            hard_state=self._image.hard_state,
            base=self._image.base,
            entries=tuple(self._image.entries),
            snapshot=snapshot,
            torn_bytes=0,
            damaged_snapshots=(),
        )

    @classmethod
    def open(cls, disk: MemoryDisk, *, group: str, member_id: MemberId) -> MemoryStorage:
        """Open a disk. Raises `ForeignDirectory`, `DirectoryLocked`, or `StorageFailed` when it is broken."""
        if disk.owner not in (None, (group, member_id)):
            raise ForeignDirectory(f"this disk belongs to {disk.owner}; give each member its own")
        if disk.holder is not None:
            raise DirectoryLocked("this disk is in use; close or crash the storage that holds it", holder="in memory")
        if disk.broken:
            raise StorageFailed("this disk is broken; mend it, then open it again")
        disk.owner = (group, member_id)
        return cls(disk)

    def crash(self) -> None:
        """End without closing, as SIGKILL or a power cut does: the disk is free, this object is of no use any more."""
        self._release()

    @property
    def recovered(self) -> Recovered:
        """What `open` found; does not change with later writes. A compaction lets its entries go."""
        return self._recovered

    @property
    def log_bytes(self) -> int:
        """What the entries would take."""
        return self._log_bytes

    def write_genesis(self, genesis: Genesis) -> None:
        """As the protocol says."""
        self._require_usable()
        if self._image.genesis != genesis:
            self._write_group((genesis,))

    def write(self, records: Sequence[Record]) -> None:
        """As the protocol says."""
        self._require_usable()
        assert records, "a write group of nothing: the caller should have skipped it"
        self._write_group(tuple(records))

    def mark_synced(self) -> None:
        """Nothing to do: what was written is durable here."""
        self._require_usable()

    def begin_snapshot(self, meta: SnapshotMeta) -> MemorySnapshotSink:
        """As the protocol says."""
        assert self._image.genesis is not None, "a member without a genesis has no state to take a snapshot of"
        assert self._writer is None or not self._writer.is_open, "the snapshot before is still being written"
        assert all(meta.last.index > index for index in self.disk.snapshots), "an older snapshot than one that is there"
        if self.disk.broken:
            raise SnapshotFailed("the disk is broken; mend it, it is tried again")
        self._writer = MemorySnapshotSink(self, meta)
        return self._writer

    def open_snapshot(self, index: LogIndex) -> MemorySnapshot:
        """As the protocol says."""
        snapshot = self.disk.snapshots.get(index)
        if snapshot is None:
            raise SnapshotGone(f"the snapshot of index {index} is gone; a newer one is there", file="")
        return snapshot

    def compact(self, to: LogIndex) -> None:
        """As the protocol says."""
        self._require_usable()
        disk = self.disk
        assert to in disk.snapshots, f"compaction to {to}, and the snapshots are {list(disk.snapshots)}"
        self._image.compact(to)
        self._recovered = replace(self._recovered, entries=())
        disk.compacted, disk.groups = self._read(), []
        disk.compacted.compact(to)
        disk.snapshots = {index: each for index, each in disk.snapshots.items() if index >= to}
        self._log_bytes = self._entry_bytes()

    def close(self) -> None:
        """As the protocol says."""
        self._release()

    def _read(self) -> LogImage:
        """What the disk's groups add up to."""
        image = replace(self.disk.compacted, entries=list(self.disk.compacted.entries))
        for group in self.disk.groups:
            for record in group:
                image.apply(record)
        return image

    def _write_group(self, group: tuple[LogRecord, ...]) -> None:
        try:
            for record in group:
                self._image.apply(record)
        except ImpossibleRecord as refusal:
            self._failure = f"it was asked to write what cannot follow: {refusal}"
            raise AssertionError(self._failure) from refusal
        if self.disk.broken:
            self._failure = "the disk is broken"
            raise StorageFailed("the disk is broken; mend it, then start the member again")
        self.disk.groups.append(group)
        for record in group:
            if isinstance(record, Append):
                self._log_bytes += sum(entry.size_bytes for entry in record.entries)
            elif isinstance(record, Truncate | Reset):
                self._log_bytes = self._entry_bytes()  # rare: counted anew

    def _entry_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self._image.entries)

    def _release(self) -> None:
        self._closed = True
        if self.disk.holder is self:
            self.disk.holder = None

    def _require_usable(self) -> None:
        assert not self._closed, "the storage was closed"
        if self._failure is not None:
            raise StorageFailed(f"the storage stopped before: {self._failure}; start the member again")


class MemorySnapshotSink:
    """A snapshot that is being written to a `MemoryDisk`."""

    def __init__(self, storage: MemoryStorage, meta: SnapshotMeta) -> None:
        """Use `MemoryStorage.begin_snapshot`."""
        self.is_open = True
        self._storage = storage
        self._meta = meta
        self._pieces: list[bytes] = []

    def write(self, chunk: bytes | memoryview) -> None:
        """As the protocol says."""
        self._require_usable()
        assert 0 < len(chunk) <= CHUNK_BYTES_MAX, f"a chunk of {len(chunk)} bytes; cut the state in smaller ones"
        self._pieces.append(bytes(chunk))

    def commit(self) -> None:
        """As the protocol says."""
        self._require_usable()
        self.is_open = False
        self._storage.disk.snapshots[self._meta.last.index] = MemorySnapshot(self._meta, tuple(self._pieces))

    def abandon(self) -> None:
        """As the protocol says."""
        self.is_open = False

    def _require_usable(self) -> None:
        assert self.is_open, "this snapshot is written, abandoned or failed"
        disk = self._storage.disk
        if disk.broken or disk.holder is not self._storage:
            self.is_open = False
            raise SnapshotFailed("the disk is broken, or its storage was closed; it is tried again")
