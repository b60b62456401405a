"""How many calls to other peers may be open at a time, and which of them are overdue.

Here:   the slots of one peer's outgoing calls; no thread, no clock.
Never:  what is sent and when it is tried again (core), the calls themselves (transport.py).

Ray keeps a call to a stopped or unreachable process and runs it later; `ray.get(timeout=)` does not take it back. So a
slot is freed by the *end* of its call or by a new incarnation of its target, never by its deadline: otherwise a peer
that is stopped for a minute collects a minute of our messages, and runs them all when it wakes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from raft_actors.core.messages import AppendEntries, InstallSnapshot, Message
from raft_actors.core.types import MemberId, RpcId

PROBE_INTERVAL_MS: Final = 1000
"""How often one more call is tried when all open ones are overdue."""


class CallKind(StrEnum):
    """Kinds have slots of their own, so that large appends never keep a heartbeat or a vote from going out."""

    VOTE = "vote"
    BEAT = "beat"
    APPEND = "append"


def kind_of(message: Message) -> CallKind:
    """Which slots a request takes."""
    if isinstance(message, AppendEntries):
        return CallKind.APPEND if message.entries else CallKind.BEAT
    if isinstance(message, InstallSnapshot):
        return CallKind.BEAT  # an offer; the state travels beside it
    return CallKind.VOTE


@dataclass(slots=True, kw_only=True)
class _OpenCall:
    to: MemberId
    kind: CallKind
    deadline_ms: int
    overdue: bool = False


class CallWindow:
    """All open calls of one peer."""

    def __init__(self, *, open_max: int, pending_max: int, deadline_ms: int) -> None:
        """`open_max` calls per target and kind; with probes never more than `pending_max`."""
        assert open_max <= pending_max, f"{open_max} open calls are more than Ray takes, {pending_max}"
        self._open_max = open_max
        self._pending_max = pending_max
        self._deadline_ms = deadline_ms
        self._calls: dict[RpcId, _OpenCall] = {}
        self._probed_ms: dict[tuple[MemberId, CallKind], int] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def open_to(self, to: MemberId) -> int:
        """Calls open to one target."""
        return sum(1 for call in self._calls.values() if call.to == to)

    def admit(self, rpc_id: RpcId, to: MemberId, kind: CallKind, now_ms: int) -> bool:
        """Take a slot for this call. False: none is free, and the call must not be made."""
        assert rpc_id not in self._calls, f"call {rpc_id} was admitted before"
        siblings = [call for call in self._calls.values() if call.to == to and call.kind is kind]
        if len(siblings) >= self._open_max:
            probed_ms = self._probed_ms.get((to, kind), now_ms - PROBE_INTERVAL_MS)
            may_probe = (
                len(siblings) < self._pending_max
                and all(call.overdue for call in siblings)
                and now_ms - probed_ms >= PROBE_INTERVAL_MS
            )
            if not may_probe:
                return False
            self._probed_ms[(to, kind)] = now_ms
        self._calls[rpc_id] = _OpenCall(to=to, kind=kind, deadline_ms=now_ms + self._deadline_ms)
        return True

    def ended(self, rpc_id: RpcId) -> bool:
        """The call ended, with an answer or an error. False when its slot had been freed before."""
        return self._calls.pop(rpc_id, None) is not None

    def take_overdue(self, now_ms: int) -> list[tuple[RpcId, MemberId]]:
        """Calls that passed their deadline since the last look. They count as failed, and keep their slots."""
        overdue = []
        for rpc_id, call in self._calls.items():
            if not call.overdue and now_ms >= call.deadline_ms:
                call.overdue = True
                overdue.append((rpc_id, call.to))
        return overdue

    def target_restarted(self, to: MemberId) -> list[RpcId]:
        """A new incarnation of the target: calls to the old one are gone. Returns them, to be counted as failed."""
        freed = [rpc_id for rpc_id, call in self._calls.items() if call.to == to]
        for rpc_id in freed:
            del self._calls[rpc_id]
        return freed
