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
from raft_actors.recording.schema import Row

Measure: TypeAlias = Callable[[bytes], Row]
"""From a result: what it tells, as columns of the row. Raises what it refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRecord:
    """What is known of an operation when it is invoked; called when it ends (`sender.Observe`)."""

    recorder: Recorder
    op_id: str
    client: str
    op: str
    asked: Row
    """What is known of it by then, as columns of the row: the key, the value written ..."""
    measure: Measure
    t_invoke: int
    t_intended: int | None = None

    def __call__(self, result: Result, report: OperationReport) -> None:
        """Write the row."""
        told: Row = {}
        status, error = "ok", None
        try:
            if isinstance(result, OperationError):
                raise result
            told = self.measure(result)
        except OperationError as failure:
            status, error, told = failure.outcome, type(failure).__name__, failure.told
        row = {
            "op_id": self.op_id,
            "client": self.client,
            "op": self.op,
            "status": status,
            "t_intended": self.t_intended,
            "t_invoke": self.t_invoke,
            "t_return": self.recorder.now_ns(),
            "attempts": report.attempts,
            "server": report.server,
            "leader": report.leader,
            "term": report.term,
            "error": error,
            **self.asked,
            **told,
        }
        self.recorder.record("ops", row)
