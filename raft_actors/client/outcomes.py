"""The sentences with which operations end that have no result.

Here:   which error, which outcome, what to do.
Never:  when an operation ends (engine.py), what the state machine refused (a result like any other).
"""

from __future__ import annotations

from raft_actors.client.operation import Kind, Operation
from raft_actors.errors import (
    ClientClosed,
    LogFull,
    NoQuorum,
    OperationError,
    Outcome,
    Overloaded,
    SessionLost,
    Timeout,
)


def tried(operation: Operation) -> str:
    """How much was tried, as a part of a sentence."""
    if not operation.attempts:
        return "nothing was sent"
    servers = ", ".join(str(member) for member in sorted(operation.tried))
    return f"{operation.attempts} attempt{'s' * (operation.attempts > 1)} at server {servers}"


def deadline_passed(operation: Operation, *, leader_known: bool) -> OperationError:
    """The operation's time is over. Unknown if any attempt has no definite answer; else say what stood in the way."""
    within = f"within {operation.timeout_ms / 1000:g} s ({tried(operation)})"
    if operation.final is not None:
        return operation.final(operation)
    if operation.can_still_happen:
        if operation.kind is not Kind.COMMAND:
            return Timeout(
                f"no answer {within}: ask again, or check with `raft-kv status` that a majority runs",
                outcome="unknown",
                attempts=operation.attempts,
            )
        return Timeout(
            f"no answer {within}, so it may have happened or not: read before you repeat it",
            outcome="unknown",
            attempts=operation.attempts,
        )
    if operation.overloaded or (leader_known and not operation.attempts):
        return Overloaded(
            f"too much was waiting for it to be taken {within}, nothing happened: send less at a time",
            outcome="not_done",
            attempts=operation.attempts,
        )
    return NoQuorum(
        f"no leader was found {within}, nothing happened: check with `raft-kv status` that a majority runs",
        outcome="not_done",
        attempts=operation.attempts,
    )


def too_many(waiting: str) -> Overloaded:
    """Refused before it was sent."""
    return Overloaded(f"this client has {waiting} without an outcome, nothing was sent: wait for some of them first")


def log_full(operation: Operation) -> OperationError:
    """A server said LogFull."""
    return LogFull(
        f"the group's log is full and takes no writes ({tried(operation)}): raise log_bytes_max",
        outcome=outcome_of(operation),
        attempts=operation.attempts,
    )


def too_large(operation: Operation, bytes_max: int) -> OperationError:
    """A server said TooLarge."""
    return OperationError(
        f"the command has {len(operation.request)} bytes, the group takes {bytes_max}: split it",
        outcome=outcome_of(operation),
        bytes_max=bytes_max,
        attempts=operation.attempts,
    )


def query_failed(operation: Operation, why: str) -> OperationError:
    """The state machine raised."""
    return OperationError(
        f"the state machine could not answer the query ({why}): ask something else, or mend it",
        outcome=outcome_of(operation),
        attempts=operation.attempts,
    )


def session_lost(operation: Operation) -> OperationError:
    """A retried command whose session is gone: the group does not remember whether it was applied."""
    return SessionLost(
        f"the client's session expired while the operation was under way ({tried(operation)}), so it may have happened "
        "or not: read before you repeat it",
        outcome="unknown",
        attempts=operation.attempts,
    )


def closed(operation: Operation | None) -> OperationError:
    """The client was closed before or while this was under way."""
    if operation is None or not operation.can_still_happen:
        return ClientClosed("the client is closed, nothing happened: use another one", outcome="not_done")
    return ClientClosed(
        f"the client was closed before the answer came ({tried(operation)}), so it may have happened or not",
        outcome="unknown",
        attempts=operation.attempts,
    )


def outcome_of(operation: Operation) -> Outcome:
    """What is known when nothing more will be tried."""
    return "unknown" if operation.can_still_happen else "not_done"
