"""Looking at a data directory from outside its peer, setting one aside, and deleting one.

Here:   whose directory it is, without its lock; deletion, only while holding the lock; another name for a directory
        that counts no more.
Never:  reading a log that a peer may be writing.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

from raft_actors.core.types import DirectoryId, MemberId
from raft_actors.errors import StorageError
from raft_actors.storage.directory import IDENTITY, LOCK, open_data_directory, read_identity
from raft_actors.storage.files import OsFiles
from raft_actors.storage.place import ASIDE_SUFFIX


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
    delete_aside(path)
    os.rename(path, aside)
    files = OsFiles()
    parent = files.open_directory(os.path.dirname(path))
    try:
        files.sync(parent)  # or a power cut gives the old directory its name back, beside the new one's promises
    finally:
        files.close(parent)
    return aside


def delete_aside(path: str) -> None:
    """Delete what was set aside from `path`, if anything was; the group's own directory if that was all.

    Raises OSError.
    """
    with suppress(FileNotFoundError):
        shutil.rmtree(path + ASIDE_SUFFIX)
    with suppress(OSError):
        os.rmdir(os.path.dirname(path))
