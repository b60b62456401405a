"""One row of a run per operation (recording/schema.py, frame `ops`).

Here:   `OperationRecord`, made at the invocation, written at the outcome.
Never:  where rows go, what results mean (passed in as `measure`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from raft_actors.client.operation import OperationReport, Result
from raft_actors.errors import OperationError
from raft_actors.recording.recorder import Recorder

Measure: TypeAlias = Callable[[bytes], tuple[int | None, int | None]]
"""From a result: the version read or written, and the size of the value read in bytes. Raises what it refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRecord:
    """What is known of an operation when it is invoked; called when it ends (`sender.Observe`)."""

    recorder: Recorder
    op_id: str
    client: str
    op: str
    key: str | None
    value_size: int | None
    """Of the value written, in bytes."""
    measure: Measure
    t_invoke: int
    t_intended: int | None = None

    def __call__(self, result: Result, report: OperationReport) -> None:
        """Write the row."""
        version = size = error = None
        status = "ok"
        try:
            if isinstance(result, OperationError):
                raise result
            version, size = self.measure(result)
        except OperationError as failure:
            status, error = failure.outcome, type(failure).__name__
        row = {
            "op_id": self.op_id,
            "client": self.client,
            "op": self.op,
            "key": self.key,
            "status": status,
            "t_intended": self.t_intended,
            "t_invoke": self.t_invoke,
            "t_return": self.recorder.now_ns(),
            "attempts": report.attempts,
            "server": report.server,
            "leader": report.leader,
            "term": report.term,
            "version": version,
            "error": error,
            "value_size": self.value_size if size is None else size,
        }
        self.recorder.record("ops", row)
