"""The leader's side of replication: what to send to whom, what an answer means, what is committed (Raft §5.3, §5.4.2).

Here:   proposals, AppendEntries, heartbeats, back-up by conflict hint, the commit rule; offers of a snapshot.
Never:  the follower's side (following.py), who became leader and why (election.py), reads (reads.py), what the answer
        to an offer means (snapshotting.py).

Pacing. A member is probed until a guess is confirmed (one append under way), then fed (a few under way, `next_index`
running ahead). A lost or refused append falls back to probing from what is known, and is tried again with the next
heartbeat, so an unreachable member costs one message per heartbeat. A member that lacks entries from before the log's
base is offered the newest snapshot instead, with each heartbeat, until it is at the base or beyond. How many Ray calls
may be open beyond that is the transport's business (raft_actors/peer/window.py).
"""

from __future__ import annotations

from raft_actors.core.effects import (
    CommitAdvanced,
    DropReason,
    Effect,
    ProposalRefusal,
    ProposalRefused,
    ProposalStarted,
)
from raft_actors.core.entries import ENTRY_OVERHEAD_BYTES, Command, Entry, Member, Payload
from raft_actors.core.messages import AppendEntries, AppendEntriesReply, InstallSnapshot
from raft_actors.core.quorum import majority_reached
from raft_actors.core.state import Leading, Progress, State, append_to_log, send_request
from raft_actors.core.types import GENESIS_ID, EntryId, LogIndex, RpcId


def new_progress(member: Member, last_index: LogIndex, now_ms: int) -> Progress:
    """ "Initialized to leader last log index + 1" (Fig. 2, nextIndex): the optimistic guess."""
    return Progress(
        member_id=member.member_id,
        directory_id=member.directory_id,
        next_index=LogIndex(last_index + 1),
        match_index=LogIndex(0),
        last_answer_ms=now_ms,
    )


# -- the leader's own log --------------------------------------------------------------------------------------------


def propose(state: State, proposal_id: int, data: bytes, now_ms: int, out: list[Effect]) -> None:
    """ "If command received from client: append entry to local log" (Fig. 2, Leaders), within the byte limit."""
    leading = state.leading
    if leading is None:
        out.append(
            ProposalRefused(proposal_id=proposal_id, reason=ProposalRefusal.NOT_LEADER, leader=state.leader_hint)
        )
        return
    if leading.transfer is not None:  # "stops accepting new client requests" (dissertation §3.10)
        out.append(
            ProposalRefused(proposal_id=proposal_id, reason=ProposalRefusal.OVERLOADED, leader=state.leader_hint)
        )
        return
    if leading.uncommitted_bytes + ENTRY_OVERHEAD_BYTES + len(data) > state.settings.uncommitted_bytes_max:
        out.append(
            ProposalRefused(proposal_id=proposal_id, reason=ProposalRefusal.OVERLOADED, leader=state.leader_hint)
        )
        return
    entry_id = append_as_leader(state, leading, Command(data=data), now_ms, out)
    for progress in leading.progress.values():
        feed(state, leading, progress, out)
    out.append(ProposalStarted(proposal_id=proposal_id, index=entry_id.index, term=entry_id.term))


def append_as_leader(state: State, leading: Leading, payload: Payload, now_ms: int, out: list[Effect]) -> EntryId:
    """Append one entry of our term. Its stamp is log time: never wall time, never falling (contracts rule 11)."""
    stamp_ms = max(state.log.last_stamp_ms, leading.stamp_base_ms + now_ms - leading.since_ms)
    entry_id = EntryId(state.current_term, LogIndex(state.log.last.index + 1))
    entry = Entry(id=entry_id, payload=payload, stamp_ms=stamp_ms)
    append_to_log(state, (entry,), out)
    leading.uncommitted_bytes += entry.size_bytes
    return entry_id


def advance_commit_index(state: State, leading: Leading, out: list[Effect]) -> None:
    """Highest index stored by a majority *and* written in the leader's own term.

    "Only log entries from the leader's current term are committed by counting replicas" (Raft §5.4.2, Fig. 8). The
    leader's own copy is one of the replicas only as far as it is durable, and only if the leader is a voter in force
    (dissertation §4.2.2, §10.2.1; contracts rule 1).
    """
    reached = LogIndex(
        majority_reached(
            [
                state.durable_index
                if voter.directory_id == state.directory_id
                else leading.progress[voter.directory_id].match_index
                for voter in state.configurations.in_force.voters()
            ]
        )
    )
    if reached <= state.commit_index or state.log.term_at(reached) != state.current_term:
        return
    for index in range(state.commit_index + 1, reached + 1):
        leading.uncommitted_bytes -= state.log.entry_at(LogIndex(index)).size_bytes
    state.commit_index = reached
    out.append(CommitAdvanced(commit_index=reached))


# -- sending ---------------------------------------------------------------------------------------------------------


def feed(state: State, leading: Leading, progress: Progress, out: list[Effect]) -> None:
    """Send what the member lacks, as far as its mode allows. A snapshot is offered with heartbeats alone."""
    if progress.probing:
        if not progress.appends and state.log.base.index < progress.next_index <= state.log.last.index:
            _send_append(state, leading, progress, out)
        return
    while progress.next_index <= state.log.last.index and len(progress.appends) < state.settings.appends_in_flight_max:
        _send_append(state, leading, progress, out)


def broadcast(state: State, leading: Leading, now_ms: int, out: list[Effect]) -> None:
    """One message to every other member, as a new round: heartbeat, commit index, read-index beat, or probe.

    Heartbeats go even where appends are under way (Raft §5.2: they "prevent election timeouts"), and start from what
    the member is known to hold, so that they cannot be refused because an append has not arrived yet.
    """
    assert now_ms >= leading.since_ms, "the clock went back"
    leading.beat += 1
    for progress in leading.progress.values():
        if progress.probing and not progress.appends:
            _send_append(state, leading, progress, out)
        else:
            _send_heartbeat(state, leading, progress, out)


def _send_append(state: State, leading: Leading, progress: Progress, out: list[Effect]) -> None:
    if progress.next_index <= state.log.base.index:
        _offer_snapshot(state, leading, progress, out)
        return
    prev = LogIndex(progress.next_index - 1)
    entries: tuple[Entry, ...] = ()
    if progress.next_index <= state.log.last.index:
        entries = state.log.read(
            progress.next_index,
            state.log.last.index,
            bytes_max=state.settings.append_bytes_max,
            entries_max=state.settings.append_entries_max,
        )
    rpc_id = _send(state, leading, progress, state.log.entry_id_at(prev), entries, out)
    progress.appends.add(rpc_id)
    if not progress.probing:
        progress.next_index = LogIndex(progress.next_index + len(entries))


def _offer_snapshot(state: State, leading: Leading, progress: Progress, out: list[Effect]) -> None:
    """The member needs what only the snapshot has. As an append, the offer is a test of `next_index`: one at a time."""
    assert state.snapshot is not None, f"a log that begins behind {state.log.base} without a snapshot"
    offer = InstallSnapshot(term=state.current_term, snapshot=state.snapshot, beat=leading.beat)
    progress.appends.add(send_request(state, progress.member_id, offer, after=state.hard_state_seq, out=out))


def _send_heartbeat(state: State, leading: Leading, progress: Progress, out: list[Effect]) -> None:
    """What the member is known to hold may be from before our base. The genesis is held by everybody (following.py)."""
    known = progress.match_index >= state.log.base.index
    prev = state.log.entry_id_at(progress.match_index) if known else GENESIS_ID
    _send(state, leading, progress, prev, (), out)


def _send(
    state: State,
    leading: Leading,
    progress: Progress,
    prev_entry: EntryId,
    entries: tuple[Entry, ...],
    out: list[Effect],
) -> RpcId:
    """A leader does not wait for its own disk (dissertation §10.2.1): only for the write that made it leader."""
    message = AppendEntries(
        term=state.current_term,
        prev_entry=prev_entry,
        entries=entries,
        leader_commit=state.commit_index,
        beat=leading.beat,
    )
    return send_request(state, progress.member_id, message, after=state.hard_state_seq, out=out)


# -- answers ---------------------------------------------------------------------------------------------------------


def handle_append_entries_reply(
    state: State,
    leading: Leading,
    progress: Progress,
    rpc_id: RpcId,
    reply: AppendEntriesReply,
    now_ms: int,
    out: list[Effect],
) -> DropReason | None:
    """Raft §5.3: a success moves match_index, a failure backs up. Only answers to *this* leadership come here."""
    assert reply.request_term == state.current_term, "an answer to another term's request must not be counted (B5)"
    if reply.match_index > state.log.last.index or (not reply.success and reply.conflict is None):
        append_lost(progress, rpc_id)
        return DropReason.IMPOSSIBLE_MATCH
    was_fed = rpc_id in progress.appends and not progress.probing
    note_answer(leading, progress, rpc_id, reply.beat, now_ms)
    if reply.success:
        confirm_match(state, progress, reply.match_index)
        advance_commit_index(state, leading, out)
        feed(state, leading, progress, out)
    elif reply.conflict is not None and _back_up(state, progress, reply.prev_index, reply.conflict):
        feed(state, leading, progress, out)
    elif was_fed:  # it overtook the one before it: the member lacks what it carried, and holds by now what it built on
        probe_again(progress, LogIndex(progress.match_index + 1))
        feed(state, leading, progress, out)
    return None


def note_answer(leading: Leading, progress: Progress, rpc_id: RpcId, beat: int, now_ms: int) -> None:
    """What every answer says, whatever it answers: the member is there, and in this round it took us for the leader."""
    progress.appends.discard(rpc_id)
    progress.last_answer_ms = now_ms
    progress.acked_beat = max(progress.acked_beat, min(beat, leading.beat))


def confirm_match(state: State, progress: Progress, match_index: LogIndex) -> None:
    """The member holds our log up to here. If that was the question, it is fed from here on."""
    progress.match_index = max(progress.match_index, match_index)
    tested = progress.next_index - 1 if progress.next_index > state.log.base.index else state.log.base.index
    if progress.probing and match_index >= tested:
        progress.probing = False
        progress.appends.clear()
    progress.next_index = max(progress.next_index, LogIndex(progress.match_index + 1))


def _back_up(state: State, progress: Progress, prev_index: LogIndex, conflict: EntryId) -> bool:
    """ "The leader can decrement nextIndex to bypass all of the conflicting entries in that term" (Raft §5.3, end).

    The hint is the follower's newest entry that can still match; we skip our own entries that cannot match it. A
    failure that is older than what we know since does not move the guess (reliability B7), and False is returned:
    sending again at once what was just refused would never end.
    """
    stale = prev_index <= progress.match_index or (progress.probing and prev_index != progress.next_index - 1)
    if stale:
        return False
    index = min(conflict.index, LogIndex(prev_index - 1))
    if index >= state.log.base.index:
        index = state.log.last_at_or_before(index, conflict.term).index
    # Else it ends before our base: `next_index` says so, and the snapshot is offered.
    probe_again(progress, LogIndex(max(index, progress.match_index) + 1))
    return True


def append_lost(progress: Progress, rpc_id: RpcId) -> None:
    """No answer to this request in time. If it was an append: probe from what is known, with the next heartbeat."""
    if rpc_id in progress.appends:
        progress.appends.discard(rpc_id)
        if not progress.probing:
            probe_again(progress, LogIndex(progress.match_index + 1))


def probe_again(progress: Progress, next_index: LogIndex) -> None:
    """Another guess: of what was sent ahead something did not get there, or builds on what is not there."""
    progress.probing = True
    progress.next_index = next_index
    progress.appends.clear()
