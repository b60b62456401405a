"""Everything a peer can ask of the world, and the promise about their order.

Here:   one frozen class per effect, and their union `Effect`; the records of `Persist`; reasons for a drop.
Never:  how they are performed (raft_actors/peer/perform.py).

The ordering promise. Effects begin in list order. `Persist` is asynchronous: the disk works on writes in the order of
their `seq` and reports `Durable(seq)`. An effect with a field `after` must not leave before write `after` is durable;
nothing else orders disk and network (dissertation §10.2.1). core/outbox.py is the class that keeps this promise.

What `after` is. For every reply: the newest write issued so far, so that a reply can never promise what a crash could
take back, be it a vote, a term, or entries of an *earlier* request whose write is still on its way (the duplicate that
needs no write of its own). For a candidate's request: the same. For a leader's AppendEntries and for pre-votes: the
write of the (term, vote) that made them legal, so that a leader's disk runs beside its followers' disks. So for
InstallSnapshot, whose snapshot is durable.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from raft_actors.core.entries import Entry, SnapshotMeta
from raft_actors.core.messages import Envelope
from raft_actors.core.types import DirectoryId, EntryId, LogIndex, MemberId, RequestId, Role, RpcId, Term, WriteSeq


@dataclass(frozen=True, slots=True, kw_only=True)
class HardState:
    """Term and vote (Raft Fig. 2, persistent state). `voted_for` names a directory, never a member id."""

    term: Term
    voted_for: DirectoryId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """These entries follow the log's end."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncate:
    """All entries from `from_index` on are forgotten."""

    from_index: LogIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """The whole log is forgotten, and goes on behind `base`, the last entry of a durable snapshot (Raft §7)."""

    base: EntryId


Record: TypeAlias = HardState | Append | Truncate | Reset


@dataclass(frozen=True, slots=True, kw_only=True)
class Persist:
    """Make these records durable, in this order, all or (after a crash) a prefix of the write groups."""

    seq: WriteSeq
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRequest:
    """Call a peer. Ends as `ReplyReceived` or `RequestFailed` with this `rpc_id`; a late reply may follow a failure."""

    rpc_id: RpcId
    envelope: Envelope
    after: WriteSeq


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReply:
    """Answer a received request."""

    request_id: RequestId
    envelope: Envelope
    after: WriteSeq


@dataclass(frozen=True, slots=True, kw_only=True)
class Compact:
    """Entries up to and with `to`, the index of a durable snapshot, may go from the disk, and older snapshots.

    The disk takes it in turn with the writes, so that what it forgets is there. An application that has not applied so
    far cannot go on from entries any more, and starts over from the newest snapshot.
    """

    to: LogIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSnapshot:
    """A leader offers what the log can no longer be caught up with: fetch it, write it, say `SnapshotStored`.

    Comes again with every heartbeat until it is there or another leader offers another; one is fetched at a time. Its
    file must not get its name before write `after` is durable: who finds a snapshot at a start has to know the term in
    which it was committed, or would believe a leader of an earlier one. The same goes for one of our own application,
    and the newest write issued when it is asked.
    """

    source: MemberId
    snapshot: SnapshotMeta
    after: WriteSeq


@dataclass(frozen=True, slots=True, kw_only=True)
class StateReplaced:
    """The log was reset to this snapshot, which is durable here.

    News, no order: an application that is behind it meets the log's base, and goes on from the snapshot (`Compact`).
    """

    snapshot: SnapshotMeta


class DropReason(Enum):
    """Why a message from outside was not obeyed. Counted by the shell under these names."""

    FOREIGN_CLUSTER = "foreign_cluster"
    WRONG_ADDRESSEE = "wrong_addressee"
    OLD_INCARNATION = "old_incarnation"
    FROM_SELF = "from_self"
    MALFORMED = "malformed"
    SECOND_LEADER = "second_leader"
    CONFLICTS_WITH_COMMITTED = "conflicts_with_committed"
    NOT_A_VOTER = "not_a_voter"
    STALE_REPLY = "stale_reply"
    IMPOSSIBLE_MATCH = "impossible_match"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """A received request is dropped: the caller gets no Raft answer, only the news that there will be none."""

    request_id: RequestId
    reason: DropReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A reply or hello was dropped, or an answer counted for nothing."""

    sender: MemberId
    reason: DropReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartElectionTimer:
    """Draw a new election timeout and fire `ElectionTimedOut(generation)` after it; the timer before is void.

    `soon`: fire after a random 0 to 50 ms instead, because the leader is known to be gone (hello of its successor).
    """

    generation: int
    soon: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StopElectionTimer:
    """No election timer runs while leading."""

    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleChanged:
    """Role, term or known leader changed. The heartbeat daemon beats while the role is leader."""

    role: Role
    term: Term
    leader: MemberId | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitAdvanced:
    """Entries up to `commit_index` are committed; the shell may apply them (Raft §5.3)."""

    commit_index: LogIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationChanged:
    """Another configuration is in force: a new entry was appended, or one was truncated (dissertation §4.1)."""

    index: LogIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalStarted:
    """The proposal is in the leader's log at (index, term). Whether it commits, the applied entries tell."""

    proposal_id: int
    index: LogIndex
    term: Term


class ProposalRefusal(Enum):
    """Why a proposal was not appended; definite, it never will be."""

    NOT_LEADER = "not_leader"
    OVERLOADED = "overloaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRefused:
    """The proposal was not appended. `leader` is a hint, None when unknown."""

    proposal_id: int
    reason: ProposalRefusal
    leader: MemberId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadConfirmed:
    """A state that has applied `read_index` is new enough for this read (dissertation §6.4)."""

    read_id: int
    read_index: LogIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRefused:
    """Not (or no longer) leader, or too many reads wait (`leader` is then ourselves)."""

    read_id: int
    leader: MemberId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeStarted:
    """The new configuration is in the leader's log at (index, term), and in force there.

    It is made when that entry is committed: when the commit index reaches it while this peer leads, or by whatever the
    log says at that place later.
    """

    change_id: int
    index: LogIndex
    term: Term


class ChangeRefusal(Enum):
    """Why a change of the membership was not appended; definite, it never will be."""

    NOT_LEADER = "not_leader"
    TRANSFERRING = "transferring"
    """Leadership is about to move."""
    OTHER_CONFIGURATION = "other_configuration"
    """It was made for another one than the one in force (contracts rule 12)."""
    CHANGE_NOT_COMMITTED = "change_not_committed"
    """One at a time (reliability D4)."""
    TERM_NOT_COMMITTED = "term_not_committed"
    """The leader has no committed entry of its own term yet (D1). One is on its way: ask again soon."""
    ALREADY_MEMBER = "already_member"
    """That directory, or that place with another directory, which has to be removed first."""
    NOT_MEMBER = "not_member"
    ALREADY_VOTER = "already_voter"
    LAGS = "lags"
    """Too far behind to be a voter, or not heard of lately (D8)."""
    LAST_VOTER = "last_voter"
    """It would leave nobody to count (D12)."""
    WOULD_STALL = "would_stall"
    """Of the voters that it would leave too few answer: nothing would be committed any more, this change included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRefused:
    """The change was not appended. `leader` is a hint, None when unknown."""

    change_id: int
    reason: ChangeRefusal
    leader: MemberId | None


class TransferEnd(Enum):
    """How a transfer of leadership ended."""

    MOVED = "moved"
    """A later term began after the target was told to campaign: very likely its own."""
    NOT_LEADER = "not_leader"
    ANOTHER_UNDER_WAY = "another_under_way"
    NO_SUCH_VOTER = "no_such_voter"
    """The target is no other voter of the configuration in force; or there is no other."""
    GIVEN_UP = "given_up"
    """The target did not lead in time; this leader goes on."""
    STEPPED_DOWN = "stepped_down"
    """This peer ceased to lead for another reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferEnded:
    """The transfer is over. `done`: this peer leads no more, because another campaigned when it was told to."""

    transfer_id: int
    done: bool
    why: TransferEnd


Effect: TypeAlias = (
    Persist
    | Compact
    | FetchSnapshot
    | StateReplaced
    | SendRequest
    | SendReply
    | Refuse
    | Count
    | RestartElectionTimer
    | StopElectionTimer
    | RoleChanged
    | CommitAdvanced
    | ConfigurationChanged
    | ProposalStarted
    | ProposalRefused
    | ReadConfirmed
    | ReadRefused
    | ChangeStarted
    | ChangeRefused
    | TransferEnded
)
