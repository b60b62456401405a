"""Who takes rows: a recorder, and the one that takes none.

Here:   the `Recorder` protocol and `NullRecorder`, the default everywhere.
Never:  where rows go (run_writer.py; the recorder actor).
"""

from __future__ import annotations

from typing import Protocol

from raft_actors.recording.schema import Row


class Recorder(Protocol):
    """Takes rows of a run. Neither blocks nor raises: what it cannot take, it drops and counts."""

    @property
    def enabled(self) -> bool:
        """False: whatever is recorded is thrown away, so the caller may spare itself building rows."""
        ...

    def now_ns(self) -> int:
        """Nanoseconds since the start of the run, for the `t_*` and `time` of rows."""
        ...

    def record(self, frame: str, row: Row) -> None:
        """Take one row of `frame` (schema.FRAMES). The row belongs to the recorder from now on."""
        ...


class NullRecorder:
    """Recording is off unless asked for: this is what off is."""

    @property
    def enabled(self) -> bool:
        """Always False."""
        return False

    def now_ns(self) -> int:
        """Always 0: no run, no start."""
        return 0

    def record(self, frame: str, row: Row) -> None:
        """Forget the row."""
