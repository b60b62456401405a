"""Snapshot files of one member: written aside, renamed once they are durable, read with every checksum.

Here:   `SnapshotWriter`, `SnapshotReader`, and which snapshot is the newest good one.
Never:  what its records hold (snapshot_records.py), what a snapshot means for the log (recovery.py, wal.py).

A file gets its name only after all of it was synced, and nothing relies on it before the name was, too. So a file under
its name that is not whole is damaged, never torn. A name that a start *finds* need not be durable: its sync may have
failed, and later ones make up for nothing (contracts 4). So a start gives the snapshot that it relies on a new name, of
the next generation. A writer and readers may work in other threads than the log's.
"""

from __future__ import annotations

import errno
import os.path
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final

from raft_actors.codec import CHUNK_BYTES_MAX
from raft_actors.core.entries import Genesis, SnapshotMeta
from raft_actors.errors import RaftActorsError, SnapshotDamaged, SnapshotFailed, SnapshotGone
from raft_actors.storage.directory import SNAPSHOT_SUFFIX, UNFINISHED_SUFFIX, DataDirectory
from raft_actors.storage.files import CREATE_NEW, READ, Files, read_all, write_all
from raft_actors.storage.image import ImpossibleRecord
from raft_actors.storage.records import (
    FORMAT_VERSION,
    FRAME_BYTES,
    SNAPSHOT_CHUNK,
    SNAPSHOT_END,
    SNAPSHOT_HEADER,
    Frame,
    read_frame,
    read_length,
)
from raft_actors.storage.refusals import foreign, newer_format
from raft_actors.storage.snapshot_records import (
    HEADER_BYTES_MAX,
    SnapshotHeader,
    SnapshotName,
    decode_header,
    enclose_chunk,
    encode_end,
    encode_header,
    is_end,
    newest_names,
    snapshot_names,
)

RESERVE_BYTES_MAX: Final = 64 * 1024 * 1024
RESERVE_SHARE: Final = 16
"""What a snapshot leaves free is a part of the disk, at most so much: one that filled it to the last byte would take
the room of the log, whose next write would end the process."""


# -- writing ------------------------------------------------------------------------------------------------------


class SnapshotWriter:
    """One snapshot on its way to the disk. After `SnapshotFailed`, `commit` or `abandon` nothing works any more."""

    # There is one at a time in a directory (wal.py), and none replaces a good snapshot: indexes rise.

    def __init__(self, directory: DataDirectory, header: SnapshotHeader, name: SnapshotName) -> None:
        """Begin the file. Raises `SnapshotFailed`."""
        self._directory = directory
        self.index: Final = name.index
        self.committed = False
        self._final = name.file
        self._name = self._final + UNFINISHED_SUFFIX
        self._descriptor: int | None = None
        self._at = self._size = self._count = self._unsynced = 0
        data, self._chain = encode_header(header)
        try:
            with suppress(FileNotFoundError):  # one that failed, and then could not be removed
                directory.files.unlink(directory.descriptor, self._name)
            self._descriptor = directory.open(self._name, CREATE_NEW)
            self._append(data)
        except OSError as refusal:
            self._fail(refusal)

    def write(self, chunk: bytes | memoryview) -> None:
        """The next bytes of the state, at most CHUNK_BYTES_MAX. Raises `SnapshotFailed`."""
        assert 0 < len(chunk) <= CHUNK_BYTES_MAX, f"a chunk of {len(chunk)} bytes; cut the state in smaller ones"
        self._count += 1
        self._size += len(chunk)
        head, tail, self._chain = enclose_chunk(self._count, chunk, self._chain)
        self._record(head, chunk, tail)

    def commit(self) -> None:
        """Make it durable under its name. Raises `SnapshotFailed`; a later start may then find it, and whole."""
        self._record(encode_end(self._count, self._size, self._chain))
        assert self._descriptor is not None, "a snapshot that is being written has a file"
        files = self._directory.files
        try:
            files.sync(self._descriptor)
            with self._directory.naming:
                files.rename(self._directory.descriptor, self._name, self._final)
                self._name = self._final
                files.sync(self._directory.descriptor)
        except OSError as refusal:
            self._fail(refusal)
        self._close()
        self.committed = True

    @property
    def is_open(self) -> bool:
        """Whether more may be written."""
        return self._descriptor is not None

    def abandon(self) -> None:
        """Leave nothing behind. Safe to call again, and after everything else."""
        if self._descriptor is not None:
            self._close()
            with suppress(OSError):  # what is not finished is removed by a start
                self._directory.files.unlink(self._directory.descriptor, self._name)

    def _record(self, *parts: bytes | memoryview) -> None:
        try:
            self._append(*parts)
        except OSError as refusal:
            self._fail(refusal)

    def _append(self, *parts: bytes | memoryview) -> None:
        assert self._descriptor is not None, "this snapshot is written, abandoned or failed"
        room, size = self._directory.files.room(self._descriptor), sum(map(len, parts))
        if room.free - size < min(RESERVE_BYTES_MAX, room.total // RESERVE_SHARE):
            raise OSError(errno.ENOSPC, "the disk is nearly full, and the log needs the rest")
        for part in parts:
            write_all(self._directory.files, self._descriptor, part, self._at)
            self._at += len(part)
        self._unsynced += size
        if self._unsynced >= CHUNK_BYTES_MAX:
            self._directory.files.sync_data(self._descriptor)
            self._unsynced = 0

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._directory.files.close(descriptor)

    def _fail(self, refusal: OSError) -> None:
        self.abandon()
        file = os.path.join(self._directory.path, self._name)
        raise SnapshotFailed(
            f"writing {file} failed at byte {self._at}: {refusal.strerror or refusal}; the state before is as it was, "
            "see to the disk (space, health), it is tried again",
            file=file,
        ) from refusal


# -- reading ------------------------------------------------------------------------------------------------------


class SnapshotRecords:
    """The records of a snapshot, one after the other, each with its checksum, whatever file they stand in."""

    def __init__(self, files: Files, file: str, descriptor: int) -> None:
        """Take over an open file. Raises OSError; then it is still the caller's."""
        self._files = files
        self._file = file
        self._descriptor = descriptor
        self._size = files.fstat(descriptor).size
        self._first: Frame | None = None

    def header(self) -> Frame:
        """The first record; whether it is one of ours to read is the caller's question. Raises `SnapshotDamaged`."""
        self._first = self._read(0, 0, HEADER_BYTES_MAX)
        return self._first

    def chunks(self) -> Iterator[bytes]:
        """The state, in the pieces in which it was written. Raises `SnapshotDamaged` at the first that is not good,
        and at the end if it is not where it should be; OSError from the disk."""
        frame, count, size = self._first or self.header(), 0, 0
        while True:
            at = frame.behind
            frame = self._read(at, frame.chain, CHUNK_BYTES_MAX)
            if frame.kind == SNAPSHOT_END:
                break
            count, size = count + 1, size + len(frame.body)
            if frame.kind != SNAPSHOT_CHUNK or frame.entry_index != count or frame.entry_term or not frame.body:
                raise self.damaged(at, f"another record where chunk {count} belongs")
            yield frame.body
        if not is_end(frame, count, size):
            raise self.damaged(at, f"an end that does not fit {count} chunks of {size} bytes")
        if frame.behind != self._size:
            raise self.damaged(frame.behind, "bytes behind its end")

    def close(self) -> None:
        """Once, when nobody reads any more."""
        self._files.close(self._descriptor)

    def damaged(self, offset: int, why: str) -> RaftActorsError:
        """What is raised for bytes that are not as they were written; who has another file than ours says it so."""
        return SnapshotDamaged(
            f"{self._file} is damaged at byte {offset}: {why}; the snapshot before it or another member has the state",
            file=self._file,
            offset=offset,
            why=why,
        )

    def _read(self, at: int, chain: int, body_bytes_max: int) -> Frame:
        length = read_length(read_all(self._files, self._descriptor, FRAME_BYTES, at))
        rest = self._size - at - FRAME_BYTES
        if rest < 0 or (length is not None and rest < length <= body_bytes_max):
            raise self.damaged(at, f"the file ends at byte {self._size}, within a record or before its last")
        if length is None or length > body_bytes_max:
            raise self.damaged(at, "no record")
        size = FRAME_BYTES + length
        frame = read_frame(read_all(self._files, self._descriptor, size, at), 0, size, chain)
        if frame is None:
            raise self.damaged(at, "a checksum that does not fit")
        if at and frame.version != FORMAT_VERSION:  # the header's is looked at by itself
            raise self.damaged(at, f"a record of format {frame.version} in a file of format {FORMAT_VERSION}")
        return frame._replace(behind=at + frame.behind)


class SnapshotReader(SnapshotRecords):
    """A snapshot file of a directory, open: removing or replacing the file does not disturb who reads it."""

    def __init__(self, directory: DataDirectory, name: SnapshotName) -> None:
        """Open it and read its header.

        Raises `SnapshotGone`, `SnapshotDamaged`, `ForeignDirectory`, `NewerFormat`, or OSError from the disk.
        """
        file = os.path.join(directory.path, name.file)
        try:
            descriptor = directory.open(name.file, READ)
        except FileNotFoundError as refusal:
            raise SnapshotGone(f"{file} is gone; a newer one is there", file=file) from refusal
        try:
            super().__init__(directory.files, file, descriptor)
            frame = self.header()
            if frame.kind == SNAPSHOT_HEADER and frame.version > FORMAT_VERSION:
                raise newer_format(directory, name.file, frame.version)
            try:
                header = decode_header(frame)
            except ImpossibleRecord as refusal:
                raise self.damaged(0, str(refusal)) from refusal
            if header.identity != directory.identity:
                raise foreign(directory, name.file, header.identity.member_id, header.identity.group)
            if header.meta.last.index != name.index:
                raise self.damaged(0, f"this is the snapshot of index {header.meta.last.index} under another name")
        except BaseException:
            directory.files.close(descriptor)
            raise
        self.meta: Final = header.meta
        self.genesis: Final = header.genesis


# -- what lies in a directory -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The snapshots of a directory."""

    meta: SnapshotMeta | None
    """The newest that is whole; its every checksum was verified."""
    genesis: Genesis | None
    name: SnapshotName | None
    names: tuple[SnapshotName, ...]
    """Of all snapshots, rising."""
    damaged: tuple[SnapshotDamaged, ...]
    """What is wrong with newer ones, the newest first."""
    unfinished: tuple[str, ...]
    """Files that never got their name."""
    renamed: tuple[str, ...]
    """Names that count no more once the newest good one has its next: that of today, and earlier ones of any."""


def find_snapshot(directory: DataDirectory) -> Found:
    """The newest snapshot that is whole. Raises `ForeignDirectory`, `NewerFormat`, or OSError from the disk."""
    listed = directory.files.list_names(directory.descriptor)
    newest = newest_names(listed)
    damaged: list[SnapshotDamaged] = []
    meta, genesis, good = None, None, None
    for name in reversed(newest.values()):
        try:
            meta, genesis = _verified(directory, name)
        except SnapshotDamaged as refusal:
            damaged.append(refusal)
        else:
            good = name
            break
    return Found(
        meta=meta,
        genesis=genesis,
        name=good,
        names=tuple(newest.values()),
        damaged=tuple(damaged),
        unfinished=tuple(sorted(name for name in listed if name.endswith(SNAPSHOT_SUFFIX + UNFINISHED_SUFFIX))),
        renamed=tuple(name.file for name in snapshot_names(listed) if name == good or name != newest[name.index]),
    )


def _verified(directory: DataDirectory, name: SnapshotName) -> tuple[SnapshotMeta, Genesis]:
    """What a snapshot says of itself when its every checksum holds."""
    with closing(SnapshotReader(directory, name)) as reader:
        for _ in reader.chunks():
            pass
        return reader.meta, reader.genesis
