"""Everything that can happen to a peer. Time is in the event; the core has no clock.

Here:   one frozen class per kind of event, and their union `Event`.
Never:  what happens next (step.py and the rule files).

`now_ms` is the peer's own monotonic clock, in milliseconds; only differences of it mean anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from raft_actors.core.entries import Member, SnapshotMeta
from raft_actors.core.messages import Envelope
from raft_actors.core.types import DirectoryId, Incarnation, LogIndex, MemberId, RequestId, RpcId, WriteSeq


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReceived:
    """Another peer asks. Exactly one `SendReply` or `Refuse` with this `request_id` follows, in this step or later."""

    now_ms: int
    request_id: RequestId
    envelope: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyReceived:
    """A peer answered our request `rpc_id`."""

    now_ms: int
    rpc_id: RpcId
    envelope: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed:
    """No answer to our request `rpc_id` in time: refused, lost, or past its deadline. It may have been obeyed."""

    now_ms: int
    rpc_id: RpcId
    to: MemberId


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectionTimedOut:
    """The election timer fired. Ignored unless it is the one started last (Ruaft's versioned timer)."""

    now_ms: int
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatDue:
    """The heartbeat interval passed. Ignored unless leader."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable:
    """All writes up to `seq` are on the disk."""

    now_ms: int
    seq: WriteSeq


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """Someone wants `data` in the log, as one entry: `ProposalStarted` or `ProposalRefused` in this step."""

    now_ms: int
    proposal_id: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequested:
    """Someone wants to read at the newest state. Answered by `ReadConfirmed` or `ReadRefused`, now or later."""

    now_ms: int
    read_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAbandoned:
    """Whoever asked for this read no longer waits; it is forgotten without an answer."""

    now_ms: int
    read_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HelloReceived:
    """Another peer says that it has (re)started as this incarnation. Needs no answer."""

    now_ms: int
    cluster_id: bytes
    sender: MemberId
    incarnation: Incarnation


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDownRequested:
    """The shell wants this leader to stop leading, for example because its application has been away for too long."""

    now_ms: int
    why: str
    hold_off_ms: int
    """How long it does not campaign again, so that a peer that cannot serve does not win again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotStored:
    """A snapshot is durable in a file here: one of our own application, or one that a leader offered.

    Long after it was begun, perhaps: what it means is decided when it is told (contracts 5 a).
    """

    now_ms: int
    snapshot: SnapshotMeta


@dataclass(frozen=True, slots=True, kw_only=True)
class AddMember:
    """This place shall belong to the group, served by this directory as a non-voter: it is fed, and counts nowhere.

    The place is new, or vacant. A new one may be added vacant.
    """

    member: Member

    def __post_init__(self) -> None:
        if self.member.voter:
            raise ValueError("a new member lacks the log: it is added as a non-voter, and promoted when it has it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """This non-voter shall be a voter."""

    directory_id: DirectoryId


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveMember:
    """This directory shall not belong to the group any more, voter or not, the leader's own included."""

    directory_id: DirectoryId
    keep_place: bool = False
    """Its place stays, vacant, for another directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovePlace:
    """This vacant place shall not belong to the group any more."""

    member_id: MemberId


Change: TypeAlias = AddMember | Promote | RemoveMember | RemovePlace


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRequested:
    """Someone wants another configuration: `ChangeStarted` or `ChangeRefused` in this step (membership.py)."""

    now_ms: int
    change_id: int
    made_for: LogIndex
    """Index of the configuration in force that whoever wants it has seen (contracts rule 12)."""
    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRequested:
    """Someone wants another leader. `TransferEnded` follows, now or later (transfer.py)."""

    now_ms: int
    transfer_id: int
    to: DirectoryId | None
    """None: the voter that holds most of the log."""


Event: TypeAlias = (
    RequestReceived
    | ReplyReceived
    | RequestFailed
    | ElectionTimedOut
    | HeartbeatDue
    | Durable
    | Proposed
    | ReadRequested
    | ReadAbandoned
    | HelloReceived
    | StepDownRequested
    | SnapshotStored
    | ChangeRequested
    | TransferRequested
)
