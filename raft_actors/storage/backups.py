"""Backup files: a snapshot of a group in a file of its own, written and read with every checksum.

Here:   `BackupWriter`, `BackupReader`. The form is that of a snapshot file (snapshot_records.py, docs/FORMATS.md): so
        one reader serves both, and the newest snapshot file of a member that is lost is as good as a backup.
Never:  where the state comes from (raft_actors/cluster/backup.py), what becomes of it (founding.py).

A file gets its name only when all of it was synced, and a file that was there before stays as it was until then. A file
is believed only as a whole: whoever restores from one reads all of it first, and again while it restores.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NoReturn

from raft_actors.codec import CHUNK_BYTES_MAX
from raft_actors.errors import AlreadyThere, BackupDamaged, BackupFailed, BackupForeign, BackupNewer, BackupRefused
from raft_actors.storage.files import FILE_MODE, OsFiles
from raft_actors.storage.image import ImpossibleRecord
from raft_actors.storage.records import FORMAT_VERSION, MAGIC, SNAPSHOT_HEADER, Frame, read_frame
from raft_actors.storage.snapshot_records import SnapshotHeader, decode_header, enclose_chunk, encode_end, encode_header
from raft_actors.storage.snapshots import SnapshotRecords

UNFINISHED_SUFFIX: Final = ".part"
"""Of a backup on its way, beside its name; it counts for nothing."""
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What a file system says that has none: a backup may lie on any."""


def header_of(record: bytes) -> SnapshotHeader:
    """What the first record of a snapshot says, as a member tells it. Raises `BackupForeign`."""
    frame = read_frame(record, 0, len(record), 0)
    try:
        if frame is None or frame.behind != len(record):
            raise ImpossibleRecord("no record")
        return decode_header(frame)
    except ImpossibleRecord as refusal:
        raise BackupForeign(f"this is no header of a snapshot: {refusal}; use the same version everywhere") from refusal


class BackupWriter:
    """One file on its way. After `BackupFailed`, `commit` or `abandon` nothing works any more."""

    def __init__(self, path: str, header: SnapshotHeader, *, replace: bool) -> None:
        """Begin it, beside its name. Raises `AlreadyThere` unless it may replace what has the name; `BackupFailed`."""
        self._path = os.path.abspath(path)
        self._replace = replace
        self._descriptor: int | None = None
        self._count = self.size = self._unsynced = 0
        data, self._chain = encode_header(header)
        try:
            if not replace and os.path.lexists(self._path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            folder, name = os.path.split(self._path)
            self._descriptor, self._part = tempfile.mkstemp(prefix=f"{name}.", suffix=UNFINISHED_SUFFIX, dir=folder)
            os.fchmod(self._descriptor, FILE_MODE)
            self._write(data)
        except OSError as refusal:
            self._fail(refusal)

    def write(self, chunk: bytes | memoryview) -> None:
        """The next bytes of the state, at most 4 MiB. Raises `BackupFailed`."""
        assert 0 < len(chunk) <= CHUNK_BYTES_MAX, f"a chunk of {len(chunk)} bytes; cut the state in smaller ones"
        self._count += 1
        self.size += len(chunk)
        head, tail, self._chain = enclose_chunk(self._count, chunk, self._chain)
        try:
            self._write(head, chunk, tail)
        except OSError as refusal:
            self._fail(refusal)

    def commit(self) -> None:
        """Make it durable under its name. Raises `BackupFailed`, or `AlreadyThere` for a file that came meanwhile."""
        assert self._descriptor is not None, "this backup is written, abandoned or failed"
        try:
            self._write(encode_end(self._count, self.size, self._chain))
            os.fsync(self._descriptor)
            self._name()
            folder = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as refusal:
            self._fail(refusal)
        self._close()

    def abandon(self) -> None:
        """Leave nothing behind. Safe to call again, and after everything else."""
        if self._descriptor is not None:
            self._close()
            with suppress(OSError):
                os.unlink(self._part)

    def _write(self, *parts: bytes | memoryview) -> None:
        assert self._descriptor is not None, "this backup is written, abandoned or failed"
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            self._unsynced += len(part)
        if self._unsynced >= CHUNK_BYTES_MAX:
            os.fdatasync(self._descriptor)  # or the last sync takes them all, beside a member's log
            self._unsynced = 0

    def _name(self) -> None:
        if not self._replace:
            try:
                os.link(self._part, self._path)  # unlike a rename, it replaces nothing
            except OSError as refusal:
                if refusal.errno not in _NO_LINKS:
                    raise
                if os.path.lexists(self._path):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from refusal
            else:
                os.unlink(self._part)
                return
        os.rename(self._part, self._path)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _fail(self, refusal: OSError) -> NoReturn:
        self.abandon()
        if refusal.errno == errno.EEXIST:
            raise AlreadyThere(
                f"{self._path} exists: give another name, or --force (force=True) to replace it", path=self._path
            ) from refusal
        raise BackupFailed(
            f"no backup was written to {self._path}: {refusal.strerror or refusal}; see to the disk (space, rights), "
            "then save again",
            path=self._path,
        ) from refusal


class BackupReader(SnapshotRecords):
    """A backup file, open. Its header was read; what follows is believed when `chunks` came to its end."""

    def __init__(self, path: str) -> None:
        """Open it. Raises `BackupForeign`, `BackupNewer`, `BackupDamaged`, or their root for what cannot be read."""
        self.path: Final = os.path.abspath(path)
        files = OsFiles()
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as refusal:
            raise self._unreadable(refusal) from refusal
        try:
            super().__init__(files, self.path, descriptor)
            self.size_bytes: Final = self._size
            self.said: Final = self._said()
        except OSError as refusal:
            files.close(descriptor)
            raise self._unreadable(refusal) from refusal
        except BaseException:
            files.close(descriptor)
            raise

    def chunks(self) -> Iterator[bytes]:
        """The state, in the pieces in which it was written. Raises `BackupRefused`, also at the end."""
        try:
            yield from super().chunks()
        except OSError as refusal:
            raise self._unreadable(refusal) from refusal

    def verify(self) -> int:
        """Read all of it; how many bytes the state has. Raises `BackupRefused`."""
        return sum(map(len, self.chunks()))

    def damaged(self, offset: int, why: str) -> BackupDamaged:
        """Cut off or changed since it was written."""
        return BackupDamaged(
            f"{self.path} is damaged at byte {offset}: {why}; nothing was restored, take another copy or backup",
            path=self.path,
            offset=offset,
            why=why,
        )

    def _said(self) -> SnapshotHeader:
        begin = os.pread(self._descriptor, len(MAGIC), 0)
        if not MAGIC.startswith(begin):
            raise BackupForeign(
                f"{self.path} is no backup of raft-actors; give a file that `raft-kv snapshot save` wrote",
                path=self.path,
            )
        frame = self.header()
        if frame.kind != SNAPSHOT_HEADER:
            raise BackupForeign(
                f"{self.path} is another file of raft-actors; give a file that `raft-kv snapshot save` wrote",
                path=self.path,
            )
        if frame.version > FORMAT_VERSION:
            raise BackupNewer(
                f"{self.path} has format {frame.version} and this version of raft-actors knows {FORMAT_VERSION}; "
                "upgrade raft-actors",
                path=self.path,
            )
        return self._decoded(frame)

    def _decoded(self, frame: Frame) -> SnapshotHeader:
        try:
            return decode_header(frame)
        except ImpossibleRecord as refusal:
            raise self.damaged(0, str(refusal)) from refusal

    def _unreadable(self, refusal: OSError) -> BackupRefused:
        return BackupRefused(
            f"{self.path} cannot be read: {refusal.strerror or refusal}; nothing was restored", path=self.path
        )
