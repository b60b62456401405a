"""Who may use a data directory: its place, its owner, its lock, its identity; and the note why a member stopped.

Here:   the checks before a directory is used, LOCK, IDENTITY, STOPPED, and opening files in it safely.
Never:  the log (recovery.py, wal.py).

Order: everything that can be refused without touching the disk is refused first (the place, symbolic links, the owner,
the file system, an IDENTITY of another member or of a newer version); then the lock; then IDENTITY is read again or
drawn. A symbolic link, another owner or open permissions are refused always; a parent that anybody may write to and
file systems that lose or share data are refused unless `allow_unsafe_data_dir`.
"""

from __future__ import annotations

import errno
import os.path
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from raft_actors.core.types import DIRECTORY_ID_BYTES, DirectoryId, MemberId
from raft_actors.errors import (
    DirectoryLocked,
    DirectoryNotWritable,
    ForeignDirectory,
    LogDamaged,
    NewerFormat,
    StorageFailed,
    UnsafeDirectory,
)
from raft_actors.storage.files import CREATE_NEW, OPEN_OR_CREATE, READ, Files, OsFiles, Status, read_all, write_all
from raft_actors.storage.image import ImpossibleRecord
from raft_actors.storage.records import FORMAT_VERSION, Identity, decode_identity, encode_identity, read_frame
from raft_actors.storage.records import IDENTITY as IDENTITY_RECORD

IDENTITY: Final = "IDENTITY"
LOCK: Final = "LOCK"
STOPPED: Final = "STOPPED"
SEGMENT_SUFFIX: Final = ".seg"
SNAPSHOT_SUFFIX: Final = ".snap"
UNFINISHED_SUFFIX: Final = ".new"
"""Of a file on its way; it counts for nothing."""

_IDENTITY_BYTES_MAX: Final = 1024
_LOCK_BYTES: Final = 128
_STOPPED_BYTES_MAX: Final = 64 * 1024

_REFUSED_FILESYSTEMS: Final = {
    0x01021994: "tmpfs, which forgets everything at a power cut",
    0x858458F6: "ramfs, which forgets everything at a power cut",
    0x00006969: "NFS, a network file system",
    0x0000517B: "SMB, a network file system",
    0xFF534D42: "CIFS, a network file system",
    0xFE534D42: "SMB2, a network file system",
    0x00C36400: "Ceph, a network file system",
    0x5346414F: "AFS, a network file system",
    0x73757245: "Coda, a network file system",
    0x01021997: "9p, a network file system",
    0x0BD00BD0: "Lustre, a network file system",
    0x47504653: "GPFS, a network file system",
    0x65735546: "FUSE, whose syncs nobody vouches for",
}
"""f_type of statfs(2) (linux/magic.h), and what is wrong with it."""

_NOT_ALLOWED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG})


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDirectory:
    """A directory that is ours: checked, locked, identified."""

    files: Files
    path: str
    descriptor: int
    lock: int
    """Descriptor of LOCK; closing it gives the directory free."""
    identity: Identity
    naming: threading.Lock = field(default_factory=threading.Lock, compare=False)
    """Held from a change of names that has to last until the directory is synced: the log's thread and the one that
    writes snapshots must not sync each other's. If the sync of the one fails, the other's says ok for both, and the
    name is not durable (contracts 4)."""

    def open(self, name: str, flags: int) -> int:
        """A file in it, checked to be a plain file of ours that nobody else may read."""
        return _open_file(self.files, self.descriptor, self.path, name, flags)

    def is_in_place(self) -> bool:
        """Whether its path still leads to it: it may have been removed, or set aside for another. Raises OSError."""
        try:
            return self.files.lstat(self.path).identity == self.files.fstat(self.descriptor).identity
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Give the directory free."""
        self.files.close(self.lock)
        self.files.close(self.descriptor)


def open_data_directory(
    path: str, *, group: str, member_id: MemberId, allow_unsafe_data_dir: bool, files: Files
) -> DataDirectory:
    """Check, create if missing, lock and identify a data directory.

    Raises `UnsafeDirectory`, `DirectoryNotWritable`, `ForeignDirectory`, `NewerFormat`, `DirectoryLocked`, `LogDamaged`
    (a broken IDENTITY) or `StorageFailed` (the disk refuses). Whatever it raises, it holds nothing open.
    """
    with named_os_errors(path):
        path = os.path.join(
            files.real_path(os.path.dirname(path.rstrip("/")) or "."), os.path.basename(path.rstrip("/"))
        )
        exists = _check_place(files, path, allow_unsafe_data_dir)
        if not exists:
            _make_directories(files, path)
        descriptor = files.open_directory(path)
        held = [descriptor]
        try:
            _check_owner(files, descriptor, path, stat.S_ISDIR, "directory", "chmod 700")
            read_identity(files, descriptor, path, group, member_id)  # a foreign directory is not even locked
            held.append(lock := _lock(files, descriptor, path, f"member {member_id} of group {group}"))
            identity = read_identity(files, descriptor, path, group, member_id)
            if not any(name.endswith((SEGMENT_SUFFIX, SNAPSHOT_SUFFIX)) for name in files.list_names(descriptor)):
                identity = _write_identity(files, descriptor, path, identity or _draw_identity(files, group, member_id))
            elif identity is None:
                raise _identity_damaged(path, "missing beside files of a log; put it back")
        except BaseException:
            for each in reversed(held):
                files.close(each)
            raise
        return DataDirectory(files=files, path=path, descriptor=descriptor, lock=lock, identity=identity)


@contextmanager
def named_os_errors(path: str) -> Iterator[None]:
    """Turn what the operating system says while a directory is opened into an error that says what to do."""
    try:
        yield
    except StorageFailed:
        raise
    except OSError as refusal:
        reason = refusal.strerror or str(refusal)
        if refusal.errno in _NOT_ALLOWED:
            raise DirectoryNotWritable(
                f"cannot use data directory {path}: {reason}; let this user own it, or give another data_dir", path=path
            ) from refusal
        if refusal.errno == errno.ELOOP:
            raise UnsafeDirectory(
                f"a symbolic link stands in the place of a file or directory at {path}; put the real one there",
                path=path,
            ) from refusal
        raise StorageFailed(
            f"data directory {path}: {reason}; see to the disk (space, health), the member tries again", path=path
        ) from refusal


# -- STOPPED ------------------------------------------------------------------------------------------------------


def write_stopped(path: str, reason: str, *, files: Files | None = None) -> None:
    """Say durably why this member must not run again by itself. Raises OSError."""
    files = files or OsFiles()
    directory = files.open_directory(path)
    try:
        _replace_file(files, directory, path, STOPPED, reason.encode(errors="replace")[:_STOPPED_BYTES_MAX])
    finally:
        files.close(directory)


def read_stopped(path: str, *, files: Files | None = None) -> str | None:
    """Why this member stopped, or None when nothing says so. Raises OSError for anything but absence."""
    files = files or OsFiles()
    try:
        directory = files.open_directory(path)
    except FileNotFoundError:
        return None
    try:
        content = _read_small(files, directory, path, STOPPED, _STOPPED_BYTES_MAX)
        return None if content is None else content.decode(errors="replace")
    finally:
        files.close(directory)


def clear_stopped(path: str, *, files: Files | None = None) -> None:
    """Let the member run again. Nothing happens when nothing says that it stopped. Raises OSError."""
    files = files or OsFiles()
    directory = files.open_directory(path)
    try:
        with suppress(FileNotFoundError):
            files.unlink(directory, STOPPED)
        files.sync(directory)
    finally:
        files.close(directory)


# -- the place ----------------------------------------------------------------------------------------------------


def _check_place(files: Files, path: str, allow_unsafe: bool) -> bool:
    """Whether the directory exists. Raises `UnsafeDirectory` for a link, and for a place where data is not safe."""
    existing = path
    while (found := _lstat(files, existing)) is None:
        existing = os.path.dirname(existing)
    if existing == path and stat.S_ISLNK(found.mode):
        raise UnsafeDirectory(f"data directory {path} is a symbolic link; give the real path as data_dir", path=path)
    if not stat.S_ISDIR(found.mode):
        raise DirectoryNotWritable(f"{existing} is not a directory; move it away or give another data_dir", path=path)
    if not allow_unsafe:
        _check_ancestors(files, path)
        _check_filesystem(files, path, existing)
    return existing == path


def _check_ancestors(files: Files, path: str) -> None:
    ancestor = os.path.dirname(path)
    while True:
        found = _lstat(files, ancestor)
        if found is not None and found.mode & stat.S_IWOTH and not found.mode & stat.S_ISVTX:
            raise UnsafeDirectory(
                f"anybody may replace what is in {ancestor}, above data directory {path}: chmod o-w or chmod +t it, or "
                "give allow_unsafe_data_dir=True",
                path=path,
            )
        if ancestor == os.path.dirname(ancestor):
            return
        ancestor = os.path.dirname(ancestor)


def _check_filesystem(files: Files, path: str, existing: str) -> None:
    descriptor = files.open_directory(existing)
    try:
        fault = _REFUSED_FILESYSTEMS.get(files.filesystem_type(descriptor))
    finally:
        files.close(descriptor)
    if fault is not None:
        raise UnsafeDirectory(
            f"data directory {path} lies on {fault}: give a data_dir on a local disk, or allow_unsafe_data_dir=True if "
            "losing acknowledged writes is no harm",
            path=path,
        )


def _lstat(files: Files, path: str) -> Status | None:
    try:
        return files.lstat(path)
    except FileNotFoundError:
        return None


def _make_directories(files: Files, path: str) -> None:
    missing = []
    while _lstat(files, path) is None:
        missing.append(path)
        path = os.path.dirname(path)
    for each in reversed(missing):
        with suppress(FileExistsError):  # another member on this node made the directory of the group meanwhile
            files.make_directory(each)


def _sync_ancestors(files: Files, path: str) -> None:
    """Make the way to the directory durable, however many starts it took to make it: a name is in its parent's file."""
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        if files.lstat(path).uid != files.user():
            return  # not made by us, so it was there before
        parent = files.open_directory(path)
        try:
            files.sync(parent)
        finally:
            files.close(parent)


# -- files in it --------------------------------------------------------------------------------------------------


def _check_owner(
    files: Files, descriptor: int, path: str, right_type: Callable[[int], bool], what: str, cure: str
) -> None:
    found = files.fstat(descriptor)
    if not right_type(found.mode):
        raise UnsafeDirectory(f"{path} is not a plain {what}; move it away", path=path)
    if found.uid != files.user():
        raise UnsafeDirectory(
            f"{path} belongs to user {found.uid} and we are user {files.user()}; give a data_dir of our own", path=path
        )
    if found.mode & 0o077:
        raise UnsafeDirectory(f"{path} is open to other users (mode {found.mode & 0o777:o}); {cure} it", path=path)


def _open_file(files: Files, directory: int, path: str, name: str, flags: int) -> int:
    descriptor = files.open(directory, name, flags)
    try:
        _check_owner(files, descriptor, os.path.join(path, name), stat.S_ISREG, "file", "chmod 600")
    except BaseException:
        files.close(descriptor)
        raise
    return descriptor


def _read_small(files: Files, directory: int, path: str, name: str, size_max: int) -> bytes | None:
    try:
        descriptor = _open_file(files, directory, path, name, READ)
    except FileNotFoundError:
        return None
    try:
        return read_all(files, descriptor, size_max)
    finally:
        files.close(descriptor)


def _replace_file(files: Files, directory: int, path: str, name: str, content: bytes) -> None:
    """Written aside, synced, renamed, the name synced: after a crash the file is the old one or the new one, whole."""
    aside = name + UNFINISHED_SUFFIX
    with suppress(FileNotFoundError):
        files.unlink(directory, aside)
    descriptor = _open_file(files, directory, path, aside, CREATE_NEW)
    try:
        write_all(files, descriptor, content, 0)
        files.sync(descriptor)
    finally:
        files.close(descriptor)
    files.rename(directory, aside, name)
    files.sync(directory)


def _lock(files: Files, directory: int, path: str, holder: str) -> int:
    descriptor = _open_file(files, directory, path, LOCK, OPEN_OR_CREATE)
    try:
        if not files.lock(descriptor):
            said = read_all(files, descriptor, _LOCK_BYTES).decode(errors="replace").strip(" \n\0")
            raise DirectoryLocked(
                f"data directory {path} is in use by {said or 'another process'}; end that process, or wait for it",
                path=path,
                holder=said,
            )
        text = f"process {files.process()}, {holder}"
        write_all(files, descriptor, text.encode()[: _LOCK_BYTES - 1].ljust(_LOCK_BYTES - 1) + b"\n", 0)
    except BaseException:
        files.close(descriptor)
        raise
    return descriptor


def read_identity(files: Files, directory: int, path: str, group: str, member_id: MemberId) -> Identity | None:
    """The directory's identity, None when it has none yet; refused unless it is that of this member."""
    content = _read_small(files, directory, path, IDENTITY, _IDENTITY_BYTES_MAX)
    if content is None:
        return None
    frame = read_frame(content, 0, len(content), 0)
    if frame is None or frame.behind != len(content) or frame.kind != IDENTITY_RECORD:
        raise _identity_damaged(path, "damaged; put back a good one")
    if frame.version > FORMAT_VERSION:
        raise NewerFormat(
            f"data directory {path} has format {frame.version} and this version of raft-actors knows {FORMAT_VERSION}; "
            "upgrade raft-actors",
            path=path,
        )
    try:
        identity = decode_identity(frame)
    except ImpossibleRecord as refusal:
        raise _identity_damaged(path, f"damaged ({refusal}); put back a good one") from refusal
    if (identity.group, identity.member_id) != (group, member_id):
        raise ForeignDirectory(
            f"data directory {path} belongs to member {identity.member_id} of group {identity.group!r}, not to member "
            f"{member_id} of group {group!r}; give each member its own data_dir",
            path=path,
        )
    return identity


def _draw_identity(files: Files, group: str, member_id: MemberId) -> Identity:
    drawn = DirectoryId(files.random_bytes(DIRECTORY_ID_BYTES))
    return Identity(directory_id=drawn, group=group, member_id=member_id)


def _write_identity(files: Files, directory: int, path: str, identity: Identity) -> Identity:
    """Before the first log file, at each start: an IDENTITY that we can read need not be durable (contracts 4)."""
    _sync_ancestors(files, path)
    _replace_file(files, directory, path, IDENTITY, encode_identity(identity))
    return identity


def _identity_damaged(path: str, why: str) -> LogDamaged:
    file = os.path.join(path, IDENTITY)
    return LogDamaged(f"{file} is {why}, or bring the member back by replacing it", file=file, offset=0, index=0)
