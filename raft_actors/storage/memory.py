"""The verified fake: a storage without a disk, for tests and simulated worlds.

Here:   `MemoryDisk`, which outlives a crash, and `MemoryStorage`, which does not.
Never:  bytes and torn writes; those are shown by the files themselves on a faulty file system (tests/storage).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from raft_actors.core.effects import Append, Record, Truncate
from raft_actors.core.entries import Genesis
from raft_actors.core.types import DIRECTORY_ID_BYTES, DirectoryId, Incarnation, MemberId
from raft_actors.errors import DirectoryLocked, ForeignDirectory, StorageFailed
from raft_actors.storage.image import ImpossibleRecord, LogImage, LogRecord
from raft_actors.storage.interface import Recovered


@dataclass(slots=True)
class MemoryDisk:
    """What a crash leaves: the groups whose `write` returned. Drawn ids are the caller's, who has the dice."""

    directory_id: DirectoryId
    owner: tuple[str, MemberId] | None = None
    """Group and member of the first open."""
    start_count: int = 0
    groups: list[tuple[LogRecord, ...]] = field(default_factory=list)
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
        self._disk = disk
        self._image = LogImage()
        self._closed = False
        self._failure: str | None = None
        for group in disk.groups:
            for record in group:
                self._image.apply(record)
        self._log_bytes = self._entry_bytes()
        disk.start_count += 1
        disk.holder = self
        self._recovered = Recovered(
            incarnation=Incarnation(directory_id=disk.directory_id, start_count=disk.start_count),
            genesis=self._image.genesis,
            hard_state=self._image.hard_state,
            entries=tuple(self._image.entries),
            torn_bytes=0,
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
        """What `open` found; does not change with later writes."""
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

    def close(self) -> None:
        """As the protocol says."""
        self._release()

    def _write_group(self, group: tuple[LogRecord, ...]) -> None:
        try:
            for record in group:
                self._image.apply(record)
        except ImpossibleRecord as refusal:
            self._failure = f"it was asked to write what cannot follow: {refusal}"
            raise AssertionError(self._failure) from refusal
        if self._disk.broken:
            self._failure = "the disk is broken"
            raise StorageFailed("the disk is broken; mend it, then start the member again")
        self._disk.groups.append(group)
        for record in group:
            if isinstance(record, Append):
                self._log_bytes += sum(entry.size_bytes for entry in record.entries)
            elif isinstance(record, Truncate):
                self._log_bytes = self._entry_bytes()  # rare: counted anew

    def _entry_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self._image.entries)

    def _release(self) -> None:
        self._closed = True
        if self._disk.holder is self:
            self._disk.holder = None

    def _require_usable(self) -> None:
        assert not self._closed, "the storage was closed"
        if self._failure is not None:
            raise StorageFailed(f"the storage stopped before: {self._failure}; start the member again")
