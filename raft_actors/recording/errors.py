"""Why a run cannot be written or read: named, picklable, one sentence that says what to do.

Here:   the refusals that only runs on disk know.
Never:  failures of a member's own data (raft_actors/errors.py, StorageError).
"""

from __future__ import annotations

from raft_actors.errors import RefusedError


class RunError(RefusedError):
    """A run cannot be written or read; nothing changed."""


class RunExists(RunError):
    """The directory already holds something; a run is never mixed with another one."""


class NotARun(RunError):
    """There is no run at this path."""


class RunDamaged(RunError):
    """A file of the run is not what the schema says; names the file, the place and the column."""


class NewerRunFormat(RunError):
    """The run was written by a newer version of raft-actors."""


class RunNotClosed(RunError):
    """The run is still being written, or was cut off; it can be loaded but not converted."""


class RowsUnreadable(RunError):
    """Bytes that are no batch of rows."""
