"""Looking at a data directory from outside its peer, setting one aside, and deleting one.

Here:   whose directory it is and whether it is empty, without its lock; what it holds, and deletion, only while holding
        the lock; another name for a directory that counts no more.
Never:  what a log says while a peer may be writing it.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from raft_actors.core.types import DirectoryId, EntryId, LogIndex, MemberId
from raft_actors.errors import StorageError
from raft_actors.storage.directory import (
    IDENTITY,
    LOCK,
    SEGMENT_SUFFIX,
    SNAPSHOT_SUFFIX,
    open_data_directory,
    read_identity,
    read_stopped,
)
from raft_actors.storage.files import OsFiles
from raft_actors.storage.place import ASIDE_SUFFIX, FOUNDING_SUFFIX
from raft_actors.storage.records import SEGMENT_HEADER, SYNCED_MARK, record_kinds
from raft_actors.storage.recovery import recover

SCANNED_BYTES: Final = 64 * 1024
"""Of a segment: its header, marks, and the beginning of the first group, if there is one."""


def peek_identity(path: str, *, group: str, member_id: MemberId) -> DirectoryId | None:
    """The directory id that was drawn for this member at `path`; None when there is none or it is not this member's.

    Only for finding where data lies: whoever opens the directory checks all of it.
    """
    files = OsFiles()
    try:
        descriptor = files.open_directory(path)
    except OSError:
        return None
    try:
        identity = read_identity(files, descriptor, path, group, member_id)
    except (OSError, StorageError):
        return None
    finally:
        files.close(descriptor)
    return None if identity is None else identity.directory_id


def holds_anything(path: str) -> bool:
    """Whether more than a name and starts were ever written there: an entry, a vote, a cluster that it belongs to.

    Without its lock, and without a look at checksums: what was begun to be written counts. So an empty directory is
    told from one that made promises, also while its peer is at work. Raises OSError.
    """
    for name in os.listdir(path):
        if name.endswith(SNAPSHOT_SUFFIX):
            return True
        if name.endswith(SEGMENT_SUFFIX):
            with open(os.path.join(path, name), "rb") as file:
                if any(kind not in (SEGMENT_HEADER, SYNCED_MARK) for kind in record_kinds(file.read(SCANNED_BYTES))):
                    return True
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """What a directory would go on from."""

    cluster: str | None
    """Id of its cluster in hexadecimal digits; None: it never belonged to one."""
    last: EntryId
    """Of its last entry."""
    snapshot_index: LogIndex
    stopped: str | None
    """Why its member must not run by itself, if a STOPPED file says so."""


def look_into(path: str, *, group: str, member_id: MemberId) -> Holds:
    """Read a member's directory while its lock is ours; changes nothing. There has to be one (`peek_identity`).

    Raises what opening it raises: `DirectoryLocked` while a process of the member lives, `LogDamaged`.
    """
    directory = open_data_directory(path, group=group, member_id=member_id, allow_unsafe_data_dir=True, files=OsFiles())
    try:
        log = recover(directory)
        snapshot = log.snapshots.meta
        return Holds(
            cluster=None if log.image.genesis is None else log.image.genesis.cluster_id.hex(),
            last=log.image.last,
            snapshot_index=LogIndex(0) if snapshot is None else snapshot.last.index,
            stopped=read_stopped(path),
        )
    finally:
        directory.close()


def delete_directory(path: str, *, group: str, member_id: MemberId, allow_unsafe_data_dir: bool) -> bool:
    """Delete a member's directory while its lock is ours (contracts rule 12). False when there was none.

    Raises what opening it raises: `DirectoryLocked` while a process of the member still lives.
    """
    if peek_identity(path, group=group, member_id=member_id) is None:
        return False
    directory = open_data_directory(
        path, group=group, member_id=member_id, allow_unsafe_data_dir=allow_unsafe_data_dir, files=OsFiles()
    )
    try:
        names = directory.files.list_names(directory.descriptor)
        # The log first, then what says whose it was, the lock last: a deletion that is cut off can be done again.
        for name in sorted(names, key=lambda name: (name == LOCK, name == IDENTITY, name)):
            directory.files.unlink(directory.descriptor, name)
        directory.files.sync(directory.descriptor)
        os.rmdir(directory.path)
        with suppress(OSError):  # the group's own directory, when this was the last member
            os.rmdir(os.path.dirname(directory.path))
    finally:
        directory.close()
    return True


def set_aside(path: str, *, group: str, member_id: MemberId, directory_id: DirectoryId | None) -> str | None:
    """Give the directory at `path` another name, so that an empty one can take its place; where it is now.

    Only if it is the one with this id (None: one that does not say whose it is, if there is any); else None, and
    nothing is done. The lock is not asked for: a process that holds it is one that counts no more, it may hang for
    ever, and it goes on with the files that it has, under whatever name (contracts, "zombie on unlinked files"). What
    was set aside before is deleted: there is one at most. Raises OSError.
    """
    if not os.path.isdir(path) or peek_identity(path, group=group, member_id=member_id) != directory_id:
        return None
    aside = path + ASIDE_SUFFIX
    with suppress(FileNotFoundError):
        shutil.rmtree(aside)
    os.rename(path, aside)
    files = OsFiles()
    parent = files.open_directory(os.path.dirname(path))
    try:
        files.sync(parent)  # or a power cut gives the old directory its name back, beside the new one's promises
    finally:
        files.close(parent)
    return aside


def is_between_two(path: str) -> bool:
    """Whether a recovery was cut off between the old directory's removal from its place and the new one's naming.

    Nothing lies in the place then, and nobody may take that for a member without data.
    """
    return not os.path.lexists(path) and os.path.isdir(path + FOUNDING_SUFFIX) and os.path.isdir(path + ASIDE_SUFFIX)


def delete_beside(path: str) -> None:
    """Delete what was set aside from `path`, and what was on its way there; the group's own directory if that was all.

    Raises OSError.
    """
    for suffix in (ASIDE_SUFFIX, FOUNDING_SUFFIX):
        with suppress(FileNotFoundError):
            shutil.rmtree(path + suffix)
    with suppress(OSError):
        os.rmdir(os.path.dirname(path))
