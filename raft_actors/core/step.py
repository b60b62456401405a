"""The one door of the core: match an event to its rule, and check the step.

Here:   what every message goes through first (is it for us, from whom, which term), the dispatch, the check.
Never:  rules.
"""

from __future__ import annotations

from typing import assert_never

from raft_actors.core.effects import Count, DropReason, Effect, Refuse
from raft_actors.core.election import (
    check_quorum,
    election_timed_out,
    handle_pre_vote,
    handle_pre_vote_reply,
    handle_request_vote,
    handle_request_vote_reply,
    note_incarnation,
    own_vote_durable,
)
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
from raft_actors.core.following import handle_append_entries
from raft_actors.core.invariants import Footprint, check_step
from raft_actors.core.membership import change_membership, leave_when_removed
from raft_actors.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Envelope,
    InstallSnapshot,
    InstallSnapshotReply,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
    TimeoutNowReply,
)
from raft_actors.core.reads import abandon_read, confirm_reads, request_read
from raft_actors.core.replication import (
    advance_commit_index,
    append_lost,
    broadcast,
    handle_append_entries_reply,
    propose,
)
from raft_actors.core.snapshotting import handle_install_snapshot, handle_install_snapshot_reply, snapshot_stored
from raft_actors.core.state import State, write_done
from raft_actors.core.terms import adopt_term, step_down
from raft_actors.core.transfer import call_ended, hand_over, handle_timeout_now, transfer_leadership
from raft_actors.core.types import Incarnation, MemberId, RpcId


def step(state: State, event: Event) -> list[Effect]:
    """Advance one peer by one event. The only function that writes to a `State`.

    Effects begin in list order; effects.py says what waits for the disk. Raises AssertionError alone.
    """
    before = Footprint.of(state)
    out: list[Effect] = []
    _dispatch(state, event, out)
    _settle(state, event.now_ms, out)
    check_step(before, Footprint.of(state))
    return out


def _settle(state: State, now_ms: int, out: list[Effect]) -> None:
    """What a leader does as soon as it may, whatever brought it about."""
    if state.leading is not None:
        confirm_reads(state, state.leading, now_ms, out)
        hand_over(state, state.leading, now_ms, out)
        leave_when_removed(state, state.leading, now_ms, out)


def _dispatch(state: State, event: Event, out: list[Effect]) -> None:
    match event:
        case RequestReceived():
            _receive_request(state, event, out)
        case ReplyReceived():
            _receive_reply(state, event, out)
        case RequestFailed(rpc_id=rpc_id, to=to):
            _request_lost(state, rpc_id, to)
        case ElectionTimedOut(generation=generation, now_ms=now_ms):
            election_timed_out(state, generation, now_ms, out)
        case HeartbeatDue(now_ms=now_ms):
            _beat(state, now_ms, out)
        case Durable(seq=seq, now_ms=now_ms):
            write_done(state, seq)
            own_vote_durable(state, now_ms, out)
            if state.leading is not None:
                advance_commit_index(state, state.leading, out)
        case Proposed(proposal_id=proposal_id, data=data, now_ms=now_ms):
            propose(state, proposal_id, data, now_ms, out)
        case ReadRequested(read_id=read_id, now_ms=now_ms):
            request_read(state, read_id, now_ms, out)
        case ReadAbandoned(read_id=read_id):
            abandon_read(state, read_id)
        case HelloReceived(sender=sender, cluster_id=cluster_id, incarnation=incarnation):
            reason = _stranger(state, cluster_id, sender, state.member_id, incarnation, out)
            if reason is not None:
                out.append(Count(sender=sender, reason=reason))
        case SnapshotStored(snapshot=snapshot):
            snapshot_stored(state, snapshot, out)
        case ChangeRequested():
            change_membership(state, event, out)
        case TransferRequested(transfer_id=transfer_id, to=target, now_ms=now_ms):
            transfer_leadership(state, transfer_id, target, now_ms, out)
        case StepDownRequested(why=why, now_ms=now_ms, hold_off_ms=hold_off_ms):
            step_down(state, why=why, now_ms=now_ms, hold_off_ms=hold_off_ms, out=out)
        case _:
            assert_never(event)


def _beat(state: State, now_ms: int, out: list[Effect]) -> None:
    """A heartbeat is due: see whether a majority still answers, then speak to all."""
    if state.leading is not None:
        check_quorum(state, state.leading, now_ms, out)
    if state.leading is not None:  # check quorum may have ended it
        broadcast(state, state.leading, now_ms, out)
        hand_over(state, state.leading, now_ms, out, again=True)


def _stranger(
    state: State, cluster_id: bytes, sender: MemberId, to: MemberId, incarnation: Incarnation, out: list[Effect]
) -> DropReason | None:
    """Why a message is not listened to at all, or None. Notes the sender's incarnation on the way.

    The sender need not be listed: a follower that lags does not know its leader's configuration yet (dissertation
    §4.1). Whether its answers *count* is decided where something is counted.
    """
    if cluster_id != state.cluster_id:
        return DropReason.FOREIGN_CLUSTER
    if to != state.member_id:
        return DropReason.WRONG_ADDRESSEE
    if sender == state.member_id or incarnation.directory_id == state.directory_id:
        return DropReason.FROM_SELF
    if not note_incarnation(state, incarnation, out):
        return DropReason.OLD_INCARNATION
    return None


def _receive_request(state: State, event: RequestReceived, out: list[Effect]) -> None:
    """Exactly one reply or refusal leaves for each request."""
    envelope, request_id = event.envelope, event.request_id
    reason = _stranger_envelope(state, envelope, out)
    if reason is None:
        match envelope.message:
            case PreVote() as request:
                handle_pre_vote(state, request_id, envelope.sender, request, event.now_ms, out)
            case RequestVote() as request:
                handle_request_vote(state, request_id, envelope.sender, envelope.directory_id, request, out)
            case AppendEntries() as request:
                handle_append_entries(
                    state, request_id, envelope.sender, envelope.incarnation, request, event.now_ms, out
                )
            case InstallSnapshot() as request:
                handle_install_snapshot(
                    state, request_id, envelope.sender, envelope.incarnation, request, event.now_ms, out
                )
            case TimeoutNow() as request:
                handle_timeout_now(state, request_id, envelope.sender, envelope.incarnation, request, event.now_ms, out)
            case (
                PreVoteReply() | RequestVoteReply() | AppendEntriesReply() | InstallSnapshotReply() | TimeoutNowReply()
            ):
                reason = DropReason.MALFORMED
            case _:
                assert_never(envelope.message)
    if reason is not None:
        out.append(Refuse(request_id=request_id, reason=reason))


def _stranger_envelope(state: State, envelope: Envelope, out: list[Effect]) -> DropReason | None:
    return _stranger(state, envelope.cluster_id, envelope.sender, envelope.to, envelope.incarnation, out)


def _receive_reply(state: State, event: ReplyReceived, out: list[Effect]) -> None:
    """Adopt a higher term from any answer (Fig. 2, All Servers), then let the rule decide whether it counts."""
    envelope = event.envelope
    reason = _stranger_envelope(state, envelope, out)
    if reason is None:
        match envelope.message:
            case PreVote() | RequestVote() | AppendEntries() | InstallSnapshot() | TimeoutNow():
                reason = DropReason.MALFORMED
            case reply if reply.term > state.current_term:
                adopt_term(state, reply.term, out)
            case PreVoteReply() as reply:
                reason = _if_no_voter(state, envelope)
                if reason is None:
                    handle_pre_vote_reply(state, envelope.directory_id, reply, event.now_ms, out)
            case RequestVoteReply() as reply:
                reason = _if_no_voter(state, envelope)
                if reason is None:
                    handle_request_vote_reply(state, envelope.directory_id, reply, event.now_ms, out)
            case TimeoutNowReply():
                call_ended(state, event.rpc_id)  # it does not campaign: else it would have answered in a later term
            case AppendEntriesReply() | InstallSnapshotReply() as reply:
                reason = _leader_answered(state, event.rpc_id, envelope, reply, event.now_ms, out)
    if reason is not None:
        _request_lost(state, event.rpc_id, envelope.sender)
        out.append(Count(sender=envelope.sender, reason=reason))


def _if_no_voter(state: State, envelope: Envelope) -> DropReason | None:
    """Votes are counted from voters in force only; says so when one is not."""
    counts = state.configurations.in_force.is_voter(envelope.directory_id)
    return None if counts else DropReason.NOT_A_VOTER


def _leader_answered(
    state: State,
    rpc_id: RpcId,
    envelope: Envelope,
    reply: AppendEntriesReply | InstallSnapshotReply,
    now_ms: int,
    out: list[Effect],
) -> DropReason | None:
    """Only an answer, in our present term, to a request of our present term, by a directory that we feed."""
    leading = state.leading
    if leading is None or reply.request_term != state.current_term or reply.term != state.current_term:
        return DropReason.STALE_REPLY
    progress = leading.progress.get(envelope.directory_id)
    if progress is None:
        return DropReason.NOT_A_VOTER  # a wiped disk at a member's address, for example
    if isinstance(reply, InstallSnapshotReply):
        return handle_install_snapshot_reply(state, leading, progress, rpc_id, reply, now_ms, out)
    return handle_append_entries_reply(state, leading, progress, rpc_id, reply, now_ms, out)


def _request_lost(state: State, rpc_id: RpcId, to: MemberId) -> None:
    """The request to this address brought nothing that counts."""
    call_ended(state, rpc_id)
    if state.leading is not None:
        for progress in state.leading.progress.values():
            if progress.member_id == to:
                append_lost(progress, rpc_id)
