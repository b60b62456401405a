"""What a run writes down: the schema of its frames, and the bounded, buffered way to its directory.

Here:   the public names of the recording layer.
Never:  Ray, pandas, pyarrow; what the numbers say (analysis/).
"""

from raft_actors.recording.clock import RunClock
from raft_actors.recording.errors import (
    NewerRunFormat,
    NotARun,
    RowsUnreadable,
    RunDamaged,
    RunError,
    RunExists,
    RunNotClosed,
)
from raft_actors.recording.recorder import NullRecorder, Recorder
from raft_actors.recording.rows import decode_rows, encode_rows
from raft_actors.recording.run_writer import RunFacts, RunWriter, new_run_directory
from raft_actors.recording.schema import FRAMES, INT64_MAX, RUN_FORMAT, WRITE_OPS, Column, Frame, Kind, Row, row_fault

__all__ = [
    "FRAMES",
    "INT64_MAX",
    "RUN_FORMAT",
    "WRITE_OPS",
    "Column",
    "Frame",
    "Kind",
    "NewerRunFormat",
    "NotARun",
    "NullRecorder",
    "Recorder",
    "Row",
    "RowsUnreadable",
    "RunClock",
    "RunDamaged",
    "RunError",
    "RunExists",
    "RunFacts",
    "RunNotClosed",
    "RunWriter",
    "decode_rows",
    "encode_rows",
    "new_run_directory",
    "row_fault",
]
