"""Nothing grows without bound: every queue of a running member is within its limit.

Here:   how full each queue is, read from the product's own objects, against the limit that was configured.
Never:  trust in their counters: where one is kept beside its queue, both are counted.

Looked at now and then, not after every event: what leaks stays.
"""

from __future__ import annotations

from raft_actors.application.host import ApplicationHost
from raft_actors.core.effects import SendReply
from raft_actors.core.entries import ENTRY_OVERHEAD_BYTES
from raft_actors.peer.engine import PENDING_CALLS_MAX, Engine
from raft_actors.peer.feed import CALLS_MAX
from raft_actors.peer.snapshots import SLICES_AHEAD_MAX
from raft_actors.peer.window import CallKind
from tests.sim.checks.violation import Violation


def check_peer(engine: Engine, name: str, waiting_requests: int) -> None:
    """A running peer."""
    state = engine.state
    members = len(state.configurations.in_force.members)
    _require(name, "open calls", len(engine.window), PENDING_CALLS_MAX * len(CallKind) * members)
    _require(name, "apply calls", len(engine.feed._under_way), CALLS_MAX)
    held = list(engine._outbox._held)
    replies = sum(1 for message in held if isinstance(message, SendReply))
    _require(name, "replies held for a write", replies, waiting_requests)
    _require(name, "requests held for a write", len(held) - replies, PENDING_CALLS_MAX * len(CallKind) * members)
    job = engine.snapshots._job
    if job is not None:
        _require(name, "slices that are not in a file", job.in_hand, SLICES_AHEAD_MAX)
    leading = state.leading
    if leading is not None:
        _require(name, "reads", len(leading.reads), state.settings.reads_waiting_max)
        noops = ENTRY_OVERHEAD_BYTES * state.current_term
        _require(name, "uncommitted bytes", leading.uncommitted_bytes, state.settings.uncommitted_bytes_max + noops)
        for progress in leading.progress.values():
            _require(name, "appends under way", len(progress.appends), state.settings.appends_in_flight_max)


def check_host(host: ApplicationHost, name: str) -> None:
    """A running application."""
    proposals, reads = host._proposals, host._reads
    limits = proposals._limits
    waiting = proposals._waiting.values()
    tickets = sum(len(attempt.tickets) for attempt in waiting)
    if tickets != proposals.waiting_count:
        raise Violation("bounded queues", f"{name} counts {proposals.waiting_count} waiting callers, {tickets} wait")
    _require(name, "waiting attempts", tickets, limits.attempts_waiting_max)
    bytes_waiting = sum(attempt.size_bytes for attempt in waiting)
    _require(name, "bytes of waiting attempts", bytes_waiting, limits.attempts_waiting_bytes_max)
    _require(name, "open proposals", len(proposals._calls_open), limits.proposals_in_flight_max)
    _require(name, "remembered attempts", len(proposals._ended), limits.attempts_remembered_max)
    _require(name, "entries kept for late proposals", len(proposals._recent), limits.recent_entries_max)
    kept_bytes = sum(outcomes_bytes for _, _, outcomes_bytes in proposals._recent.values())
    if kept_bytes != proposals._recent_bytes:
        raise Violation(
            "bounded queues", f"{name} counts {proposals._recent_bytes} bytes of outcomes, not {kept_bytes}"
        )
    _require(name, "bytes kept for late proposals", kept_bytes, limits.recent_bytes_max)
    _require(name, "checkpoints", len(host._chain._checkpoints), host._chain._checkpoints_max)
    _require(name, "waiting reads", reads.waiting_count, limits.reads_waiting_max)
    sessions = host._sessions
    _require(name, "sessions", len(sessions._sessions), sessions._limits.sessions_max)
    for session in sessions._sessions.values():
        _require(name, "results of a session", len(session.results), sessions._limits.results_max)


def _require(name: str, what: str, count: int, limit: int) -> None:
    if count > limit:
        raise Violation("bounded queues", f"{name} holds {count} {what}, at most {limit}")
