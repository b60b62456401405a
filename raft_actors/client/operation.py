"""One operation from the caller's `submit` or `query` to its outcome, and the calls that carry its attempts.

Here:   `Operation`, `Call`, `Ended`, `OperationReport`: what is remembered.
Never:  what is decided from it (engine.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from raft_actors.client.session import Session
from raft_actors.core.types import MemberId, Term
from raft_actors.errors import OperationError


class Kind(StrEnum):
    """What is asked, and so whom."""

    COMMAND = "command"
    """Changes the state: the leader's, exactly once."""
    READ = "read"
    """Linearizable: the leader's."""
    STALE = "stale"
    """Anyone's."""

    @property
    def method(self) -> str:
        """The servers' method that takes it."""
        return "submit" if self is Kind.COMMAND else "query"


@dataclass(slots=True, kw_only=True, eq=False)
class Operation:
    """One operation without an outcome."""

    number: int
    """Unique within its caller; from 1 up, 0 and below for those that the engine asks on its own."""
    kind: Kind
    request: bytes
    deadline_ms: int
    timeout_ms: int
    session: Session | None = None
    """A command's, from its first attempt on."""
    sequence: int | None = None
    attempts_in_session: int = 0
    """Attempts that left under the present session. Exactly one: fresh, if the session turns out to be expired."""
    attempt_number: int = 0
    """Of the attempt drawn last in this session. A number is never used twice, also when its attempt did not leave."""
    attempts: int = 0
    """Attempts that left, in all."""
    rounds: int = 0
    """How often all servers were asked, or would have been."""
    open: dict[int, Call] = field(default_factory=dict)
    """Calls with an attempt of this operation that were not answered."""
    tried: set[MemberId] = field(default_factory=set)
    unknown: bool = False
    """Whether some attempt ended without a definite answer."""
    overloaded: bool = False
    """Whether the last refusal was one of too much work, not of a missing leader."""
    final: Callable[[Operation], OperationError] | None = None
    """Another attempt is of no use: how it ends once no attempt is open, unless one of those succeeds."""
    ended: bool = False

    @property
    def can_still_happen(self) -> bool:
        """Whether some attempt has no definite answer: then the outcome is unknown."""
        return self.unknown or bool(self.open)


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One Ray call with a batch of attempts."""

    number: int
    kind: Kind
    member_id: MemberId
    operations: tuple[Operation, ...]
    data: bytes
    patient_until_ms: int
    """From then on it counts as silent. Its answer is still taken."""
    overdue_at_ms: int
    """From then on the server is late even by its own deadline."""
    silent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationReport:
    """How an operation went, for records of a run."""

    attempts: int
    """Requests sent for it, retries included."""
    server: MemberId | None
    """Whose answer it was; None without one."""
    leader: MemberId | None
    """Who led then, as far as known."""
    term: Term | None
    """Of a command that was applied: the term of its entry."""


Result: TypeAlias = bytes | OperationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The outcome of one operation."""

    number: int
    result: Result
    report: OperationReport
