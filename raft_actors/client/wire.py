"""A call's bytes: from a batch of operations, and to their answers.

Here:   what one call carries, whatever its kind.
Never:  when it is sent, what an answer means (engine.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from raft_actors.application.packing import Malformed
from raft_actors.application.requests import (
    ANSWERS,
    QUERY,
    QUERY_ANSWERS,
    SUBMIT,
    Answer,
    Attempt,
    Query,
    QueryAnswer,
    Submit,
)
from raft_actors.client.operation import Call, Kind, Operation


def encode(kind: Kind, batch: Sequence[Operation], timeout_ms: int) -> bytes:
    """One call with an attempt at each of these operations; the server may hold it for `timeout_ms`."""
    if kind is Kind.COMMAND:
        return SUBMIT.encode(Submit(attempts=tuple(map(_attempt, batch)), timeout_ms=timeout_ms))
    requests = tuple(operation.request for operation in batch)
    return QUERY.encode(Query(requests=requests, linearizable=kind is Kind.READ, timeout_ms=timeout_ms))


def decode(call: Call, data: bytes | None) -> Sequence[Answer | QueryAnswer] | None:
    """The answers in the order of the call's operations; None for what makes no sense, which is no answer."""
    if data is None:
        return None
    codec = ANSWERS if call.kind is Kind.COMMAND else QUERY_ANSWERS
    try:
        answers: Sequence[Answer | QueryAnswer] = codec.decode(data)
    except Malformed:
        return None
    return answers if len(answers) == len(call.operations) else None


def _attempt(operation: Operation) -> Attempt:
    """The next attempt at a command, with a number of its own."""
    assert operation.session is not None, "a command is numbered before it is sent"
    assert operation.sequence is not None, "a command is numbered before it is sent"
    operation.attempt_number += 1
    return Attempt(
        number=operation.attempt_number, frame=operation.session.frame(operation.sequence, operation.request)
    )
