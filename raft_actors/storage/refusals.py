"""What is said of a file in a data directory that cannot be used: which one, where, and what to do.

Here:   the errors of files of the log and of snapshots.
Never:  when one is raised (segments.py, snapshots.py, recovery.py); refusals of the directory itself (directory.py).
"""

from __future__ import annotations

import os.path

from raft_actors.errors import ForeignDirectory, LogDamaged, NewerFormat
from raft_actors.storage.directory import DataDirectory
from raft_actors.storage.records import FORMAT_VERSION


def damaged(directory: DataDirectory, name: str, offset: int, index: int, why: str) -> LogDamaged:
    """The error that says where acknowledged data is damaged, and what to do."""
    file = os.path.join(directory.path, name)
    return LogDamaged(
        f"{file} is damaged at byte {offset}, near log index {index}: {why}; the other members hold the data, bring "
        "this one back by replacing it",
        file=file,
        offset=offset,
        index=index,
    )


def newer_format(directory: DataDirectory, name: str, version: int) -> NewerFormat:
    """The error that says that a later version of this program wrote a file."""
    return NewerFormat(
        f"{os.path.join(directory.path, name)} has format {version} and this version of raft-actors knows "
        f"{FORMAT_VERSION}; upgrade raft-actors",
        path=directory.path,
    )


def foreign(directory: DataDirectory, name: str, member_id: int, group: str) -> ForeignDirectory:
    """The error that says that a file of another directory lies here."""
    return ForeignDirectory(
        f"{os.path.join(directory.path, name)} belongs to another data directory (member {member_id} of group "
        f"{group!r}); put back the files that belong here",
        path=directory.path,
    )
