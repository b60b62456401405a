"""The log of one member being written: groups, marks, segments, compaction, and how a start takes over what it finds.

Here:   `FileStorage`: open, write, mark, roll, compact, close. records.py has the bytes, recovery.py their meaning.
Never:  retries. After an error of the disk nothing is known, so nothing is written any more (`StorageFailed`).

**Writing.** `write` appends one group and returns after its fdatasync. The next group's header, or the idle mark that
`mark_synced` writes and syncs, records that. A full segment is followed by a new one: created, header written, synced,
its name synced, all before its first group.

**A start** reads (recovery.py) and then always makes a new segment, in steps each of which is durable before the next:

1. the header, with its name: the new start counter, and `continues`, the last mark found. From there on the older files
   are void, so the torn bytes there are never judged again. The same sync of the directory makes a new name of the
   newest snapshot durable (snapshots.py);
2. the one group behind that mark, if there is a whole one, written anew: it was read from the page cache, which a power
   cut empties, and a sync of the old file would not help where an earlier sync failed;
3. a synced mark. Then `open` returns, and only then can anything found here, or the start counter, be told to anyone.

*Stopped inside 1:* a file without a whole header and without a mark; it does not count, and the earlier files are as
they were. *Inside 2:* the opening is not whole, so the file does not count, and the group still stands, as far as it
ever was durable, where `continues` points; the header is whole, so the counter does not repeat. *Inside 3:* the file
counts, its opening is pending again, and is repeated again. In each case the next start does the same from the same
state; no step destroys what an earlier one relied on. Files that no longer count are removed only after 3, and one that
comes back is not on the way from the head. So after SIGKILL, recovery, an answer and a power cut, what was answered is
in the new segment, synced. A file whose opening is empty and that holds no group adds nothing: its successor continues
what it continued, so idle starts leave one file behind, not many.

**Compaction** removes files, and does nothing else: a later file begins at or below what a durable snapshot covers, and
a start can read from there (recovery.py). Which of the earlier ones are left, or come back, makes no difference; so
nothing is synced.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import NoReturn

from raft_actors.core.effects import HardState, Record
from raft_actors.core.entries import Genesis, SnapshotMeta
from raft_actors.core.types import EntryId, Incarnation, LogIndex, MemberId
from raft_actors.errors import SnapshotFailed, StorageFailed
from raft_actors.storage.directory import DataDirectory, named_os_errors, open_data_directory
from raft_actors.storage.files import CREATE_NEW, Files, OsFiles, write_all
from raft_actors.storage.image import ImpossibleRecord, LogImage, LogRecord
from raft_actors.storage.interface import Recovered
from raft_actors.storage.records import (
    Position,
    SegmentHeader,
    encode_group,
    encode_mark,
    encode_segment_header,
)
from raft_actors.storage.recovery import RecoveredLog, recover
from raft_actors.storage.segments import LogFile, first_needed, segment_name
from raft_actors.storage.snapshot_records import SnapshotHeader, SnapshotName, newest_names
from raft_actors.storage.snapshots import SnapshotReader, SnapshotWriter


class FileStorage:
    """`Storage` in a directory. Used by one thread at a time."""

    def __init__(self, directory: DataDirectory, log: RecoveredLog, *, segment_bytes_max: int) -> None:
        """Take over a locked directory and what was read from it. Raises OSError; use `open`."""
        self._directory = directory
        self._files = directory.files
        self._segment_bytes_max = segment_bytes_max
        self._image: LogImage = log.image
        self._start_count = log.start_count + 1
        self._log_files = log.files
        """Those that count, the one being written last."""
        snapshot = log.snapshots.meta
        self._covered = LogIndex(0) if snapshot is None else snapshot.last.index
        """Index of the newest snapshot that is durable, as far as `_writer` is not asked."""
        self._writer: SnapshotWriter | None = None
        """The newest one; only the thread that writes snapshots looks at it."""
        self._descriptor: int | None = None
        self._end = log.continues
        self._marked, self._has_groups = True, False
        self._failure: str | None = None
        self._closed = False
        self._begin(log)
        incarnation = Incarnation(directory_id=directory.identity.directory_id, start_count=self._start_count)
        self._recovered = Recovered(
            incarnation=incarnation,
            genesis=log.image.genesis,
            hard_state=log.image.hard_state,
            base=log.image.base,
            entries=tuple(log.image.entries),
            snapshot=snapshot,
            torn_bytes=log.torn_bytes,
            damaged_snapshots=tuple(map(str, log.snapshots.damaged)),
        )

    @classmethod
    def open(
        cls,
        path: str,
        *,
        group: str,
        member_id: MemberId,
        segment_bytes_max: int,
        allow_unsafe_data_dir: bool = False,
        files: Files | None = None,
    ) -> FileStorage:
        """Check, lock and recover a data directory, and make this start durable.

        Creates the directory if it is missing. Raises `UnsafeDirectory`, `DirectoryNotWritable`, `ForeignDirectory`,
        `NewerFormat`, `DirectoryLocked`, `LogDamaged`, or `StorageFailed` when the disk refuses (worth trying again).
        """
        assert segment_bytes_max > 0, f"segment_bytes_max={segment_bytes_max} must be above 0"
        directory = open_data_directory(
            path,
            group=group,
            member_id=member_id,
            allow_unsafe_data_dir=allow_unsafe_data_dir,
            files=OsFiles() if files is None else files,
        )
        with ExitStack() as undo:
            undo.callback(directory.close)
            with named_os_errors(path):
                storage = cls(directory, recover(directory), segment_bytes_max=segment_bytes_max)
            undo.pop_all()
        return storage

    @property
    def recovered(self) -> Recovered:
        """What `open` found; does not change with later writes. A compaction lets its entries go."""
        return self._recovered

    @property
    def log_bytes(self) -> int:
        """Bytes of all log files that count."""
        return sum(each.size for each in self._log_files) + self._end.offset

    def write_genesis(self, genesis: Genesis) -> None:
        """Make the genesis durable; the same one again writes nothing. Raises `StorageFailed`."""
        self._require_usable()
        if self._image.genesis != genesis:
            self._write_group((genesis,))
            self._require_in_place()

    def write(self, records: Sequence[Record]) -> None:
        """Make one write group durable. Raises `StorageFailed`; a record that cannot follow is an AssertionError."""
        self._require_usable()
        assert records, "a write group of nothing: the caller should have skipped it"
        self._write_group(records)
        self._require_in_place()

    def mark_synced(self) -> None:
        """Make durable that the last group was synced, unless that is known already. Raises `StorageFailed`."""
        self._require_usable()
        if not self._marked:
            data, chain = encode_mark(self._directory.identity.directory_id, self._end, self._image.last)
            self._append(data, chain)
            self._marked = True

    # -- snapshots

    def begin_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        """Begin to write a snapshot newer than all others, in any thread, one at a time. Raises `SnapshotFailed`."""
        genesis = self._image.genesis
        assert genesis is not None, "a member without a genesis has no state to take a snapshot of"
        if self._writer is not None:
            assert not self._writer.is_open, f"the snapshot of index {self._writer.index} is still being written"
            self._covered = self._writer.index if self._writer.committed else self._covered
        assert meta.last.index > self._covered, f"a snapshot of {meta.last}, and one of {self._covered} is there"
        header = SnapshotHeader(identity=self._directory.identity, genesis=genesis, meta=meta)
        try:
            name = self._name_of(meta.last.index).next()
        except OSError as refusal:
            raise SnapshotFailed(
                f"looking into {self._directory.path} failed: {refusal.strerror or refusal}; see to the disk, it is "
                "tried again",
                file=self._directory.path,
            ) from refusal
        self._writer = SnapshotWriter(self._directory, header, name)
        return self._writer

    def open_snapshot(self, index: LogIndex) -> SnapshotReader:
        """Read a snapshot, in any thread. Raises `SnapshotDamaged` (`SnapshotGone`), or OSError from the disk."""
        return SnapshotReader(self._directory, self._name_of(index))

    def compact(self, to: LogIndex) -> None:
        """Remove the files that hold only entries up to and with `to`, and older snapshots than that one.

        `to` is the index of a durable snapshot. What the disk refuses to remove stays until the next time.
        """
        self._require_usable()
        self._image.compact(to)
        self._recovered = replace(self._recovered, entries=())  # it would keep in memory what is forgotten
        try:
            snapshots = newest_names(self._files.list_names(self._directory.descriptor))
        except OSError:
            return
        assert to in snapshots, f"compaction to {to}, and the snapshots are {list(snapshots)}"
        first = first_needed(self._log_files, to)
        stays = [each for each in self._log_files[:first] if not self._remove(segment_name(each.number))]
        self._log_files[:first] = stays
        for name in snapshots.values():
            if name.index < to:
                self._remove(name.file)

    def _remove(self, name: str) -> bool:
        """Whether a file that does not count is gone; it matters to nobody but the disk's room."""
        try:
            self._files.unlink(self._directory.descriptor, name)
        except FileNotFoundError:
            pass
        except OSError:
            return False
        return True

    def _name_of(self, index: LogIndex) -> SnapshotName:
        """The newest name of this snapshot; one of generation 0, which no file has, where there is none."""
        names = newest_names(self._files.list_names(self._directory.descriptor))
        return names.get(index, SnapshotName(index, 0))

    def close(self) -> None:
        """Mark, release the lock, close the files. Safe to call again. Raises `StorageFailed` after releasing all."""
        if self._closed:
            return
        if self._writer is not None:
            self._writer.abandon()
        try:
            if self._failure is None:
                self.mark_synced()
        finally:
            self._closed = True
            self._close_segment()
            self._directory.close()

    # -- segments

    def _begin(self, log: RecoveredLog) -> None:
        """The three steps of a start, then the removal of what no longer counts."""
        directory_id, after, found = self._directory.identity.directory_id, log.image.last, log.snapshots
        for file in found.unfinished:
            self._remove(file)
        with ExitStack() as undo:
            if found.name is not None:
                self._files.link(self._directory.descriptor, found.name.file, found.name.next().file)
                undo.callback(self._remove, found.name.next().file)  # else each start that fails leaves a name
            undo.callback(self._close_segment)
            opening_bytes = 0
            if log.pending:  # where it ends stands in the header that it chains to, so its length is needed first
                opening_bytes = len(encode_group(directory_id, log.continues, log.before, after, log.pending)[0])
            self._create_segment(log.number + 1, log.hard_state, log.before, log.continues, opening_bytes)
            if log.pending:
                self._append(*encode_group(directory_id, self._end, log.before, after, log.pending))
            self._append(*encode_mark(directory_id, self._end, after))
            undo.pop_all()
        self._marked, self._has_groups = True, bool(log.pending)
        for file in (*log.void, *found.renamed):
            self._remove(file)

    def _create_segment(
        self, number: int, hard_state: HardState, before: EntryId, continues: Position, opening_bytes: int
    ) -> None:
        """A new file with a durable header and a durable name; the log goes on there. Raises `StorageFailed`."""
        header = SegmentHeader(
            identity=self._directory.identity,
            start_count=self._start_count,
            number=number,
            hard_state=hard_state,
            before=before,
            continues=continues,
            opening_end=0,
        )
        size = len(encode_segment_header(header)[0])
        data, chain = encode_segment_header(replace(header, opening_end=size + opening_bytes))
        self._end = Position(number, 0, 0)
        try:
            with self._directory.naming:
                descriptor = self._directory.open(segment_name(number), CREATE_NEW)
                self._close_segment()
                self._descriptor = descriptor
                write_all(self._files, descriptor, data, 0)
                self._files.sync(descriptor)
                self._files.sync(self._directory.descriptor)
        except OSError as refusal:
            self._fail(refusal)
        self._end = Position(number, size, chain)
        self._log_files.append(LogFile(number=number, size=0, before=before))

    def _close_segment(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._files.close(descriptor)

    # -- writing

    def _write_group(self, records: Sequence[LogRecord]) -> None:
        hard_state, before = self._image.hard_state, self._image.last
        try:
            for record in records:
                self._image.apply(record)
        except ImpossibleRecord as refusal:
            self._failure = f"it was asked to write what cannot follow: {refusal}"
            raise AssertionError(self._failure) from refusal
        if self._has_groups and self._end.offset >= self._segment_bytes_max:
            self._log_files[-1].size = self._end.offset
            self._create_segment(self._end.segment + 1, hard_state, before, self._end, 0)
        directory_id = self._directory.identity.directory_id
        self._append(*encode_group(directory_id, self._end, before, self._image.last, records))
        self._marked, self._has_groups = False, True

    def _append(self, data: bytes, chain: int) -> None:
        """Write at the end and sync. Raises `StorageFailed`."""
        assert self._descriptor is not None, "a storage that is open has a segment"
        try:
            write_all(self._files, self._descriptor, data, self._end.offset)
            self._files.sync_data(self._descriptor)
        except OSError as refusal:
            self._fail(refusal)
        self._end = Position(self._end.segment, self._end.offset + len(data), chain)

    def _fail(self, refusal: OSError) -> NoReturn:
        file = f"{self._directory.path}/{segment_name(self._end.segment)}"
        self._failure = f"writing {file} from byte {self._end.offset} on failed: {refusal.strerror or refusal}"
        raise StorageFailed(
            f"{self._failure}; see to the disk (space, health), then start the member again", file=file
        ) from refusal

    def _require_in_place(self) -> None:
        """What was synced into a directory that no start will find is not durable: nobody may be told that it is."""
        try:
            if not self._directory.is_in_place():
                raise FileNotFoundError(errno.ENOENT, "its directory was removed, or another one is in its place")
        except OSError as refusal:
            self._fail(refusal)

    def _require_usable(self) -> None:
        assert not self._closed, "the storage was closed"
        if self._failure is not None:
            raise StorageFailed(f"the storage stopped before: {self._failure}; start the member again")
