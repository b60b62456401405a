"""Looking at a data directory from outside its peer, and deleting one.

Here:   whose directory it is, without its lock; deletion, only while holding the lock.
Never:  reading a log that a peer may be writing.
"""

from __future__ import annotations

import os
from contextlib import suppress

from raft_actors.core.types import DirectoryId, MemberId
from raft_actors.errors import StorageError
from raft_actors.storage.directory import IDENTITY, LOCK, open_data_directory, read_identity
from raft_actors.storage.files import OsFiles


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
