"""What happened, kept cheaply and told only when somebody asks: the last events of a world that failed, or all of them.

Here:   `Story`, a ring of unformatted facts; how each is told.
Never:  decisions.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from raft_actors.core.events import (
    ChangeRequested,
    Durable,
    ElectionTimedOut,
    Event,
    HeartbeatDue,
    HelloReceived,
    Proposed,
    ReadAbandoned,
    ReadRequested,
    ReplyReceived,
    RequestFailed,
    RequestReceived,
    SnapshotStored,
    StepDownRequested,
    TransferRequested,
)
from tests.rig.network import describe, place

KEPT: Final = 200


class Story:
    """Facts in the order in which they happened: when, to whom, and a text or an event."""

    def __init__(self, kept: int | None = KEPT) -> None:
        """`kept`: how many of the last; None: all."""
        self._facts: deque[tuple[int, str, str | Event]] = deque(maxlen=kept)
        self.add = self._facts.append
        """(time_us, who, what)."""

    def lines(self) -> list[str]:
        """Told to a reader."""
        return [
            f"{at_us / 1e6:10.6f}  {who:<4} {what if isinstance(what, str) else _event(what)}"
            for at_us, who, what in self._facts
        ]


def _event(event: Event) -> str:
    match event:
        case RequestReceived(request_id=request_id, envelope=envelope):
            return f"request {request_id} of {envelope.sender}: {describe(envelope.message)}"
        case ReplyReceived(rpc_id=rpc_id, envelope=envelope):
            return f"reply {rpc_id} of {envelope.sender}: {describe(envelope.message)}"
        case RequestFailed(rpc_id=rpc_id, to=to):
            return f"request {rpc_id} to {to} failed"
        case ElectionTimedOut(generation=generation):
            return f"election timer {generation} fires"
        case HeartbeatDue():
            return "heartbeat due"
        case Durable(seq=seq):
            return f"write {seq} is durable"
        case Proposed(proposal_id=proposal_id, data=data):
            return f"proposal {proposal_id} of {len(data)} B"
        case ReadRequested(read_id=read_id):
            return f"read {read_id}"
        case ReadAbandoned(read_id=read_id):
            return f"read {read_id} abandoned"
        case HelloReceived(sender=sender, incarnation=incarnation):
            return f"hello of {sender}, start {incarnation.start_count}"
        case SnapshotStored(snapshot=snapshot):
            return f"snapshot {place(snapshot.last)} is durable"
        case StepDownRequested(why=why):
            return f"is asked to step down: {why}"
        case ChangeRequested(change_id=change_id, change=change, made_for=made_for):
            return f"change {change_id} of configuration {made_for}: {change}"
        case TransferRequested(transfer_id=transfer_id, to=to):
            return f"transfer {transfer_id} to {'the best' if to is None else to.hex()}"
