"""What a peer knows (Raft Fig. 2, "State"), and the few ways to change it that every rule shares.

Here:   `State`, `Leading`, `Progress`; role changes against their table; writes, sends and replies with their `after`.
Never:  rules: when a role changes, a vote is given or an entry commits stands in election, replication and reads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from raft_actors.core.configuration import Configurations
from raft_actors.core.effects import (
    Append,
    ConfigurationChanged,
    Effect,
    HardState,
    Persist,
    Record,
    Reset,
    RestartElectionTimer,
    RoleChanged,
    SendReply,
    SendRequest,
    StopElectionTimer,
    Truncate,
)
from raft_actors.core.entries import Entry, Genesis, Member, SnapshotMeta
from raft_actors.core.log import Log
from raft_actors.core.messages import Envelope, Message, Reply, Request
from raft_actors.core.settings import CoreSettings
from raft_actors.core.types import (
    GENESIS_ID,
    DirectoryId,
    EntryId,
    Incarnation,
    LogIndex,
    MemberId,
    RequestId,
    Role,
    RpcId,
    Term,
    WriteSeq,
)

LEGAL_TRANSITIONS: Final = frozenset(
    {  # Raft Fig. 4, with the pre-candidate of dissertation §9.6
        (Role.FOLLOWER, Role.PRE_CANDIDATE),
        (Role.FOLLOWER, Role.CANDIDATE),  # its leader hands over (dissertation §3.10)
        (Role.PRE_CANDIDATE, Role.PRE_CANDIDATE),
        (Role.PRE_CANDIDATE, Role.CANDIDATE),
        (Role.PRE_CANDIDATE, Role.FOLLOWER),
        (Role.CANDIDATE, Role.PRE_CANDIDATE),
        (Role.CANDIDATE, Role.LEADER),
        (Role.CANDIDATE, Role.FOLLOWER),
        (Role.LEADER, Role.FOLLOWER),
    }
)


@dataclass(slots=True, kw_only=True)
class Progress:
    """What the leader knows of one other member, and what it has under way to it (Raft Fig. 2, nextIndex, matchIndex).

    Two modes. Probing: `next_index` is a guess, at most one append is under way. Replicating: the guess was confirmed,
    appends follow each other without waiting, `next_index` runs ahead of the answers.
    """

    member_id: MemberId
    directory_id: DirectoryId
    next_index: LogIndex
    """Next entry to send."""
    match_index: LogIndex
    """The member's log is known to hold, durably, what the leader's holds up to here. Rises within an incarnation."""
    last_answer_ms: int
    """When it last answered in this term (check quorum, dissertation §6.2)."""
    probing: bool = True
    appends: set[RpcId] = field(default_factory=set)
    """Requests under way that moved or test `next_index`; heartbeats are not among them."""
    acked_beat: int = 0
    """Highest round of the read index that it answered (dissertation §6.4)."""
    restarted: bool = False
    """Its process changed during this leadership: `match_index` no longer says all that it once acknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRead:
    """A read that waits for a majority to confirm that its leader still led after it arrived."""

    read_id: int
    read_index: LogIndex | None
    """None until the leader knows the true commit index of its term."""
    beat: int
    """The first round whose messages were sent after the read arrived."""


@dataclass(slots=True, kw_only=True)
class Transfer:
    """Leadership on its way to another voter (dissertation §3.10)."""

    transfer_id: int
    to: DirectoryId
    since_ms: int
    term: Term
    """In which we lead."""
    told: bool = False
    """It was told to campaign, at least once."""
    asked: RpcId | None = None
    """The call that tells it, while it is under way."""


@dataclass(slots=True, kw_only=True)
class Leading:
    """What only a leader has."""

    progress: dict[DirectoryId, Progress]
    term_start_index: LogIndex
    """The log's end at the election: once committed up to here, the commit index is the group's true one."""
    since_ms: int
    stamp_base_ms: int
    """Log time at the election; stamps are this plus the leader's monotonic time since (contracts rule 11)."""
    beat: int = 0
    """Round of the newest messages."""
    reads: deque[WaitingRead] = field(default_factory=deque)
    """In order of arrival, so `beat` never falls along it."""
    uncommitted_bytes: int = 0
    transfer: Transfer | None = None
    """While there is one, the log does not grow."""


@dataclass(slots=True, kw_only=True)
class PendingWrite:
    """A write on its way to the disk, and where the durable log ends once it is done."""

    seq: WriteSeq
    last_index: LogIndex


@dataclass(slots=True, kw_only=True)
class State:
    """One peer's Raft state. Only `step` writes to it."""

    settings: CoreSettings
    member_id: MemberId
    incarnation: Incarnation
    cluster_id: bytes

    # Persistent (Raft Fig. 2): in memory as issued, on disk up to `durable_seq`.
    current_term: Term
    voted_for: DirectoryId | None
    log: Log
    configurations: Configurations

    # The disk.
    write_seq: WriteSeq = WriteSeq(0)
    """Newest write issued."""
    durable_seq: WriteSeq = WriteSeq(0)
    """Newest write known to be durable."""
    hard_state_seq: WriteSeq = WriteSeq(0)
    """The write that carries the present (term, vote)."""
    durable_index: LogIndex = LogIndex(0)
    """Entries of the present log up to here are durable here."""
    pending_writes: deque[PendingWrite] = field(default_factory=deque)

    # Volatile on every peer.
    role: Role = Role.FOLLOWER
    leader: Member | None = None
    """Whom we take for the leader of the present term. `voter` is not meaningful here; a leader may be unlisted."""
    leader_start_count: int = 0
    commit_index: LogIndex = LogIndex(0)
    snapshot: SnapshotMeta | None = None
    """The newest one that is durable here."""
    timer_generation: int = 0
    last_heard_ms: int | None = None
    """When a leader of the present term was last heard; None when none was, or when it is known to be gone."""
    start_counts: dict[DirectoryId, int] = field(default_factory=dict)
    """Highest start counter seen of each listed directory; older incarnations are not listened to."""
    campaign: int = 0
    votes: set[DirectoryId] = field(default_factory=set)
    """Who granted the present campaign: directories of voters, a set, so that a duplicate counts once."""
    campaign_not_before_ms: int = 0
    leading: Leading | None = None
    last_rpc_id: RpcId = RpcId(0)

    @classmethod
    def restore(
        cls,
        *,
        settings: CoreSettings,
        member_id: MemberId,
        incarnation: Incarnation,
        genesis: Genesis,
        hard_state: HardState,
        entries: Sequence[Entry],
        base: EntryId = GENESIS_ID,
        snapshot: SnapshotMeta | None = None,
    ) -> State:
        """A follower from what its disk held. What was committed behind its snapshot, only a leader can say.

        `snapshot` is the newest good one; the log holds its last entry, or begins there.
        """
        covered, base_stamp_ms = LogIndex(0), 0
        configurations = Configurations(LogIndex(0), genesis.configuration)
        if snapshot is not None:
            covered = snapshot.last.index
            base_stamp_ms = snapshot.stamp_ms if base == snapshot.last else 0
            configurations = Configurations(snapshot.configuration_id.index, snapshot.configuration)
        log = Log(entries, base, base_stamp_ms)
        assert snapshot is None or log.matches(snapshot.last), f"a log from {base} to {log.last}, and {snapshot}"
        assert log.last.term <= hard_state.term, f"the log ends at {log.last}, after the durable term {hard_state.term}"
        configurations.appended(entry for entry in entries if entry.index > covered)
        return cls(
            settings=settings,
            member_id=member_id,
            incarnation=incarnation,
            cluster_id=genesis.cluster_id,
            current_term=hard_state.term,
            voted_for=hard_state.voted_for,
            log=log,
            configurations=configurations,
            durable_index=log.last.index,
            commit_index=covered,
            snapshot=snapshot,
        )

    @property
    def directory_id(self) -> DirectoryId:
        """Under which we vote and are counted."""
        return self.incarnation.directory_id

    @property
    def leader_hint(self) -> MemberId | None:
        """Where to send clients."""
        return self.leader.member_id if self.leader is not None else None


# -- role ------------------------------------------------------------------------------------------------------------


def change_role(state: State, to: Role, *, why: str, out: list[Effect]) -> None:
    """The one place where a role changes; also called when the known leader changes within a role."""
    if state.role is not to or to is Role.PRE_CANDIDATE:
        assert (state.role, to) in LEGAL_TRANSITIONS, (
            f"member {state.member_id}: {state.role} -> {to} in term {state.current_term} ({why})"
        )
    state.role = to
    out.append(RoleChanged(role=to, term=state.current_term, leader=state.leader_hint, why=why))


def restart_election_timer(state: State, out: list[Effect], *, soon: bool = False) -> None:
    """Void the running timer and start another."""
    state.timer_generation += 1
    out.append(RestartElectionTimer(generation=state.timer_generation, soon=soon))


def stop_election_timer(state: State, out: list[Effect]) -> None:
    """Void the running timer; leaders have none."""
    state.timer_generation += 1
    out.append(StopElectionTimer(generation=state.timer_generation))


# -- disk ------------------------------------------------------------------------------------------------------------


def persist(state: State, record: Record, out: list[Effect]) -> None:
    """Issue one write. Whatever is sent from here on with `after=state.write_seq` waits for it."""
    state.write_seq = WriteSeq(state.write_seq + 1)
    out.append(Persist(seq=state.write_seq, records=(record,)))
    if isinstance(record, HardState):
        state.hard_state_seq = state.write_seq
    elif isinstance(record, Append):
        state.pending_writes.append(PendingWrite(seq=state.write_seq, last_index=record.entries[-1].index))
    elif isinstance(record, Reset):
        # The snapshot's file is durable, and a start would reset the log to it by itself (ADR 10): so it is durable up
        # to there now, and no older write still on its way changes that.
        state.durable_index = record.base.index
        for pending in state.pending_writes:
            pending.last_index = record.base.index
    else:
        # What is cut off is not durable any more, and no older write still on its way makes it so: its bytes may get
        # there, but they are not the bytes of the present log (the ABA of asynchronous appends, reliability B10).
        kept = LogIndex(record.from_index - 1)
        state.durable_index = min(state.durable_index, kept)
        for pending in state.pending_writes:
            pending.last_index = min(pending.last_index, kept)


def persist_hard_state(state: State, out: list[Effect]) -> None:
    """Write the present term and vote (Raft Fig. 2: "updated on stable storage before responding to RPCs")."""
    persist(state, HardState(term=state.current_term, voted_for=state.voted_for), out)


def append_to_log(state: State, entries: Sequence[Entry], out: list[Effect]) -> None:
    """Append in memory, ask the disk, and put a carried configuration in force."""
    state.log.append(entries)
    persist(state, Append(entries=tuple(entries)), out)
    if state.configurations.appended(entries):
        out.append(ConfigurationChanged(index=state.configurations.in_force_index))


def truncate_log(state: State, from_index: LogIndex, out: list[Effect]) -> None:
    """Truncate in memory, ask the disk, and take back a configuration that goes with it."""
    assert from_index > state.commit_index, f"truncating {from_index}, committed is {state.commit_index}"
    state.log.truncate_from(from_index)
    persist(state, Truncate(from_index=from_index), out)
    if state.configurations.truncated(from_index):
        out.append(ConfigurationChanged(index=state.configurations.in_force_index))


def reset_log(state: State, snapshot: SnapshotMeta, out: list[Effect]) -> None:
    """The log goes on behind a snapshot, and its configuration is in force (Raft Fig. 13, 7. and 8.)."""
    state.log.reset(snapshot.last, snapshot.stamp_ms)
    persist(state, Reset(base=snapshot.last), out)
    if state.configurations.reset(snapshot.configuration_id.index, snapshot.configuration):
        out.append(ConfigurationChanged(index=state.configurations.in_force_index))


def write_done(state: State, seq: WriteSeq) -> None:
    """The disk has finished everything up to `seq`."""
    assert state.durable_seq <= seq <= state.write_seq, (
        f"disk reports write {seq}; done were {state.durable_seq}, issued {state.write_seq}"
    )
    state.durable_seq = seq
    while state.pending_writes and state.pending_writes[0].seq <= seq:
        state.durable_index = state.pending_writes.popleft().last_index


# -- network ---------------------------------------------------------------------------------------------------------


def envelope(state: State, to: MemberId, message: Message) -> Envelope:
    """Sign a message."""
    return Envelope(
        cluster_id=state.cluster_id,
        sender=state.member_id,
        incarnation=state.incarnation,
        to=to,
        message=message,
    )


def send_request(state: State, to: MemberId, message: Request, *, after: WriteSeq, out: list[Effect]) -> RpcId:
    """Ask a peer; effects.py says what `after` must be."""
    state.last_rpc_id = RpcId(state.last_rpc_id + 1)
    out.append(SendRequest(rpc_id=state.last_rpc_id, envelope=envelope(state, to, message), after=after))
    return state.last_rpc_id


def send_reply(state: State, request_id: RequestId, to: MemberId, message: Reply, out: list[Effect]) -> None:
    """Answer a request. Always after the newest write: whatever the answer promises is then durable."""
    out.append(SendReply(request_id=request_id, envelope=envelope(state, to, message), after=state.write_seq))
